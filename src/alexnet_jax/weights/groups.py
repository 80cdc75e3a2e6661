"""Towers as groups of channels: an array has the channels of the first tower before those of the second."""

from alexnet_jax.net.shapes import LayerShapes


def groups(shapes: LayerShapes, towers: int) -> int:
    """Return the number of groups of channels that a layer keeps apart: one, or one for each tower."""
    return 1 if shapes.shared or shapes.gathers else towers


def towers_in(shapes: LayerShapes, towers: int) -> int:
    """Return the number of towers in the input of a layer. Before the first weights, one stands for all."""
    return 1 if shapes.shared else towers
