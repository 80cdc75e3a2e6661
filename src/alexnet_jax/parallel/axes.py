"""The axes of the mesh. Nothing here imports JAX."""

from ml_collections import ConfigDict

DATA, TOWER = "data", "tower"


def splits_units(config: ConfigDict) -> bool:
    """Return whether a config splits the units of dense layers over ``data``, as ``one_weird_trick`` does."""
    return config.parallelism == "one_weird_trick"
