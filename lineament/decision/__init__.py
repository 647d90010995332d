"""From logits to probabilities to labels: calibration, thresholds, "cannot tell", rules of consistency."""
