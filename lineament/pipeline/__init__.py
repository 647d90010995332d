"""Photos to faces to reports: detection, alignment quality, the sentence, streams of files."""
