"""The operations that a library does not have in the form the paper means.

Images are BxHxWxC. Each has one definition here; what is quick under one compiler alone is in modules
of its own (``cpu``, ``tpu``) and chosen when the program is lowered for a platform.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers import LRN, AvgPool, Local, MapNorm, MaxPool, ReLU
from alexnet_jax.net.ops import pool as cpu
from alexnet_jax.net.ops import tpu


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel_HxWxIxO: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """Cross-correlation, as every network library calls convolution."""
    return lax.platform_dependent(
        x,
        kernel_HxWxIxO,
        cpu=lambda x, kernel: cpu.conv(x, kernel, stride, padding),
        default=lambda x, kernel: _conv(x, kernel, stride, padding),
    )


def _conv(x: jax.Array, kernel_HxWxIxO: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel_HxWxIxO, (stride, stride), (padding, padding), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _conv_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv(x, kernel, stride, padding), (x, kernel)


def _conv_backward(
    stride: int, padding: tuple[int, int], saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved

    def on_cpu(x: jax.Array, kernel: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        by_x = cpu.input_gradient(x, kernel, g, stride, padding)
        return by_x, cpu.kernel_gradient(x, g, kernel.shape[:2], stride, padding)

    def by_library(x: jax.Array, kernel: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        by_x, by_kernel = jax.vjp(lambda x, kernel: _conv(x, kernel, stride, padding), x, kernel)[1](g)
        return by_x, by_kernel

    gradients: tuple[jax.Array, jax.Array] = lax.platform_dependent(
        x, kernel, g, cpu=on_cpu, default=by_library
    )
    return gradients


conv.defvjp(_conv_forward, _conv_backward)


def local(x: jax.Array, kernel_HxWxIxO: jax.Array, layer: Local) -> jax.Array:
    """A convolution with a kernel for each place; I counts a window's rows, columns and maps."""
    height, width = kernel_HxWxIxO.shape[:2]
    # The places in front: each is a product of its own. Float32, as the gradient is a sum over windows.
    around = [(0, 0), layer.padding, layer.padding, (0, 0)]
    padded_HxWxBxC = jnp.pad(x.astype(jnp.float32), around).transpose(1, 2, 0, 3)
    windows_HxWxBxI = jnp.concatenate(
        [
            padded_HxWxBxC[i : i + height, j : j + width]
            for i in range(layer.kernel)
            for j in range(layer.kernel)
        ],
        axis=-1,
    ).astype(x.dtype)
    return jnp.matmul(windows_HxWxBxI, kernel_HxWxIxO).transpose(2, 0, 1, 3)


@jax.custom_vjp
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """X + bias, to each map, unit or place its own; the bias's gradient is summed in float32."""
    return x + bias


def _add_bias_forward(x: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array]:
    return add_bias(x, bias), bias


def _add_bias_backward(bias: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    return g, jnp.sum(g, axis=range(g.ndim - bias.ndim), dtype=jnp.float32).astype(g.dtype)


add_bias.defvjp(_add_bias_forward, _add_bias_backward)


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """max(0, x). The gradient looks at what came of it, so that what went in need not be kept."""
    return jnp.maximum(x, 0)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = relu(x)
    return y, y


def _relu_backward(y: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    # Of y > 0 XLA would make x > 0, and keep both.
    return (jnp.where(y == 0, 0, g),)


relu.defvjp(_relu_forward, _relu_backward)


def lrn(
    x: jax.Array, layer: LRN, before: jax.Array | None = None, after: jax.Array | None = None
) -> jax.Array:
    """Normalization over neighbouring maps.

    Args:
      x: the maps of a tower, in the last axis.
      layer: what to do.
      before: the last maps of the tower before, as many as the window reaches; none by default.
      after: the first maps of the tower after.
    """
    beside = [maps for maps in (before, x, after) if maps is not None]
    reached = jnp.concatenate(beside, axis=-1) if len(beside) > 1 else x
    return _lrn(reached, layer, 0 if before is None else before.shape[-1], x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _lrn(reached: jax.Array, layer: LRN, first: int, maps: int) -> jax.Array:
    """So many maps from the first on, over all that their windows reach."""
    x = lax.slice_in_dim(reached, first, first + maps, axis=-1)
    return (x * negative_power(_lrn_base(reached, layer, first, maps), layer.beta)).astype(x.dtype)


def _lrn_forward(reached: jax.Array, layer: LRN, first: int, maps: int) -> tuple[jax.Array, jax.Array]:
    return _lrn(reached, layer, first, maps), reached


def _lrn_backward(layer: LRN, first: int, maps: int, reached: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    """Of y = x base^-beta, base = k + alpha sums of x^2; autodiff would keep more than x."""
    base = _lrn_base(reached, layer, first, maps)
    x = lax.slice_in_dim(reached, first, first + maps, axis=-1)
    scaled = g * negative_power(base, layer.beta)
    before, after = layer.reach
    # The windows the other way round: from each sum back to the maps whose squares are in it.
    spread = _window_sums(scaled * x / base, x.dtype, (after, before), -first, reached.shape[-1])
    own = jnp.pad(scaled, [(0, 0)] * (x.ndim - 1) + [(first, reached.shape[-1] - first - maps)])
    return ((own - 2 * layer.alpha_each * layer.beta * reached * spread).astype(x.dtype),)


_lrn.defvjp(_lrn_forward, _lrn_backward)


def _lrn_base(reached: jax.Array, layer: LRN, first: int, maps: int) -> jax.Array:
    sums = _window_sums(reached * reached, reached.dtype, layer.reach, first, maps)
    return layer.k + layer.alpha_each * sums


def _window_sums(
    x: jax.Array, dtype: jax.typing.DTypeLike, reach: tuple[int, int], first: int, maps: int
) -> jax.Array:
    """For so many maps from the first on, the sum of those from ``reach`` before to after it, float32."""
    return lax.platform_dependent(
        x,
        cpu=lambda x: cpu.window_sums(x, reach, first, maps),
        default=lambda x: _banded_product(x.astype(dtype), reach, first, maps),
    )


def _banded_product(x: jax.Array, reach: tuple[int, int], first: int, maps: int) -> jax.Array:
    """The sums over windows as a product, which is what a TPU or a GPU does best."""
    distance = jnp.arange(x.shape[-1])[:, None] - (first + jnp.arange(maps))
    band = (distance >= -reach[0]) & (distance <= reach[1])
    return jnp.matmul(x, band.astype(x.dtype), preferred_element_type=jnp.float32)


def relu_lrn_max_pool(x: jax.Array, bias: jax.Array, first: ReLU, norm: LRN, pool: MaxPool) -> jax.Array:
    """ReLU, LRN and max pooling of x + bias, one after the other; for a TPU, at once."""

    def in_turn(x: jax.Array, bias: jax.Array) -> jax.Array:
        x = add_bias(x, bias)
        with jax.named_scope(first.name):
            x = relu(x)
        with jax.named_scope(norm.name):
            x = lrn(x, norm)
        with jax.named_scope(pool.name):
            return max_pool(x, pool)

    if not tpu.fits(x, norm, pool):
        return in_turn(x, bias)
    from alexnet_jax.net.ops import block_tpu as tpu_kernels  # here, as Pallas takes its time to be imported

    at_once = functools.partial(tpu_kernels.relu_lrn_max_pool, norm=norm)
    pooled: jax.Array = lax.platform_dependent(x, bias, tpu=at_once, default=in_turn)
    return pooled


def map_norm(x: jax.Array, layer: MapNorm) -> jax.Array:
    """Normalization over neighbouring places of the same map."""
    before = layer.window // 2
    padding = (before, layer.window - 1 - before)
    sums = _sums(jnp.square(x.astype(jnp.float32)), layer.window, 1, [padding] * 2)
    return (x * negative_power(1 + layer.alpha / layer.window**2 * sums, layer.beta)).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, layer: MaxPool) -> jax.Array:
    """The maximum over each window; of equals one gets the gradient."""
    where = layer.window, layer.stride, _padding(x, layer)
    return lax.platform_dependent(
        x, cpu=lambda x: cpu.max_pool(x, *where), default=lambda x: _max_pool(x, *where)
    )


def _max_pool(x: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]) -> jax.Array:
    sizes, strides = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, sizes, strides, [(0, 0), *padding, (0, 0)])


def _max_pool_forward(x: jax.Array, layer: MaxPool) -> tuple[jax.Array, jax.Array]:
    return max_pool(x, layer), x


def _max_pool_backward(layer: MaxPool, x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    where = layer.window, layer.stride, _padding(x, layer)
    by_x: jax.Array = lax.platform_dependent(
        x,
        g,
        cpu=lambda x, g: cpu.max_pool_gradient(x, g, *where),
        default=lambda x, g: jax.vjp(lambda x: _max_pool(x, *where), x)[1](g)[0],
    )
    return (by_x,)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def avg_pool(x: jax.Array, layer: AvgPool) -> jax.Array:
    """The mean over the places of each window that exist."""
    where = layer.window, layer.stride, _padding(x, layer)
    return _sums(x, *where) / _sums(jnp.ones((1, *x.shape[1:3], 1), x.dtype), *where)


def negative_power(x: jax.Array, beta: float) -> jax.Array:
    """X ^ -beta for x > 0; the 3/4 that everybody uses needs no logarithm."""
    if beta == 0.75:
        root = lax.rsqrt(x)
        return root * jnp.sqrt(root)
    return x**-beta


def _padding(x: jax.Array, layer: MaxPool | AvgPool) -> list[tuple[int, int]]:
    """Of rows and columns: what the last windows reach over the edge."""
    return [(0, -(size - layer.window) % layer.stride if layer.ceil else 0) for size in x.shape[1:3]]


def _sums(x: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]) -> jax.Array:
    """The sum over each window: first along the rows, then along the columns."""
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    for axis in (2, 1):
        last = (x.shape[axis] - window) // stride * stride
        places = [lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(window)]
        x = functools.reduce(jnp.add, places)
    return x
