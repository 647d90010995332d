"""Training, evaluation, export."""
