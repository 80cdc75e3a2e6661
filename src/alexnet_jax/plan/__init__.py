"""A run on hardware that need not be there."""
