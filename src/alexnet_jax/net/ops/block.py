"""ReLU, LRN and max pooling after a convolution, in fused kernels on GPUs and TPUs."""

import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence

import jax

from alexnet_jax.layers import LRN, Conv, MaxPool, ReLU
from alexnet_jax.net.ops import lrn, pointwise, pool
from alexnet_jax.net.ops.block_tiles import fits_gpu, fits_tpu
from alexnet_jax.net.ops.versions import by_platform, only_definitions
from alexnet_jax.net.shapes import LayerShapes
from alexnet_jax.runtime import progress


def stages(
    layers: Sequence[LayerShapes],
) -> Iterator[tuple[LayerShapes, tuple[ReLU, LRN | None, MaxPool] | None]]:
    """Yield each layer; a convolution comes with the layers after it that `relu_lrn_max_pool` applies."""
    while layers:
        match [shapes.layer for shapes in layers[:4]]:
            case [Conv(), ReLU() as relu, LRN() as norm, MaxPool() as pooling] if not layers[2].gathers:
                yield layers[0], (relu, norm, pooling)
                layers = layers[4:]
            case [Conv(), ReLU() as relu, MaxPool() as pooling, *_]:
                yield layers[0], (relu, None, pooling)
                layers = layers[3:]
            case _:
                yield layers[0], None
                layers = layers[1:]


def relu_lrn_max_pool(
    x: jax.Array, bias: jax.Array, relu: ReLU, norm: LRN | None, pooling: MaxPool
) -> jax.Array:
    """Apply ReLU, LRN (unless None) and max pooling to x + bias: in turn, or in the kernels of a platform."""

    def in_turn(x: jax.Array, bias: jax.Array) -> jax.Array:
        x = pointwise.add_bias(x, bias)
        with jax.named_scope(relu.name):
            x = pointwise.relu(x)
        if norm is not None:
            with jax.named_scope(norm.name):
                x = lrn.lrn(x, norm)
        with jax.named_scope(pooling.name):
            return pool.max_pool(x, pooling)

    if only_definitions():
        return in_turn(x, bias)
    kernels = {}  # imported only if needed: Pallas takes 0.2 s to import
    if norm is not None and fits_tpu(x, norm, pooling):
        from alexnet_jax.net.ops import block_tpu

        kernels["tpu"] = functools.partial(block_tpu.relu_lrn_max_pool, norm=norm)
    if fits_gpu(x, norm, pooling) and (on_gpu := _block_gpu()):
        kernels["cuda"] = functools.partial(on_gpu, norm=norm)
    if not kernels:
        return in_turn(x, bias)
    pooled: jax.Array = by_platform(x, bias, **kernels, default=in_turn)
    return pooled


@functools.cache
def _block_gpu() -> Callable[..., jax.Array] | None:
    """Import `block_gpu.relu_lrn_max_pool`. Return None without jax-triton, or after a note if it fails."""
    if importlib.util.find_spec("jax_triton") is None:
        return None
    try:
        from alexnet_jax.net.ops import block_gpu
    except Exception as error:  # Triton loads libraries of the system, which may fail in many ways
        progress.note(f"the Triton kernels for GPUs are not used: {type(error).__name__}: {error}")
        return None
    return block_gpu.relu_lrn_max_pool
