"""Weights of other frameworks, and weights for them."""
