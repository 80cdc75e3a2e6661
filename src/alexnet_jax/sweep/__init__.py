"""The types and the helper with which a recipe writes its ``sweep()``."""

from alexnet_jax.sweep.spec import Ensemble, Member, Published, Sweep, one_of

__all__ = ["Ensemble", "Member", "Published", "Sweep", "one_of"]
