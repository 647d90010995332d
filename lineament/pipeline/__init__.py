"""One photo to one report: the sentence, face quality, reduced decoding of huge JPEGs, drawing."""
