"""Measuring answers against labels: scorecard, calibration, thresholds, audit, comparison. NumPy only, no torch."""
