"""The axes of the mesh. Nothing here imports JAX."""

from ml_collections import ConfigDict

DATA, TOWER = "data", "tower"


def splits_units(config: ConfigDict) -> bool:
    """Return whether the units of dense layers are split over ``data``, as ``one_weird_trick`` does it."""
    return config.parallelism == "one_weird_trick"
