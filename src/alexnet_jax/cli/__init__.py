"""The command ``alexnet-jax``."""
