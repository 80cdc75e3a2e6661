"""What a recipe's ``sweep()`` is made of."""

from alexnet_jax.sweep.spec import Ensemble, Member, Published, Sweep, one_of

__all__ = ["Ensemble", "Member", "Published", "Sweep", "one_of"]
