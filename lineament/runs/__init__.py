"""Many items in one run: workers, time limits, resuming, processes and clusters."""
