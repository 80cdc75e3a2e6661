"""Plan a run on hardware that may be absent."""
