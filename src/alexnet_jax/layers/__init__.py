"""The network as data: frozen dataclasses that a config puts in a tuple.

Each layer describes itself: the shape of its output, its weights and how a mesh may split them, what it reads
of other towers, and the values that its fields may have. `net.shapes.layer_shapes` asks the layers of a
network in turn; `net.model` runs them. Nothing here imports JAX, so that a config loads quickly.

``features``, ``units`` and shapes are per tower, as in figure 2 of the paper. A shape is that of one example:
``(height, width, channels)`` or ``(units,)``. A layer reads its ``own`` tower or ``all`` of them.
"""

from alexnet_jax.layers.base import *
from alexnet_jax.layers.layer_types import *
from alexnet_jax.layers.sequence import *
