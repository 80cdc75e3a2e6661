"""Training, evaluation, prediction and preparation. Read each module from top to bottom."""
