"""The functions that recipes and users need: the defaults, the variants, and loading a recipe."""

from alexnet_jax.config.base import base
from alexnet_jax.config.recipe import get_config, load, with_variants

__all__ = ["base", "get_config", "load", "with_variants"]
