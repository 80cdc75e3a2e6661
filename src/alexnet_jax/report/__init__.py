"""The HTML page of a training run or of a sweep."""
