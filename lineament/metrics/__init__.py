"""Counts first, ratios last: accuracy, ranking, calibration, cohorts, bootstrap (NumPy)."""
