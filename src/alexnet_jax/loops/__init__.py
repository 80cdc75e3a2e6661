"""Training, evaluation and prediction, each from top to bottom."""
