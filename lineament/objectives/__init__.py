"""What training minimises: losses, weighting strategies, thresholds."""
