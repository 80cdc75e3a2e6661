"""Response normalization over neighbouring channels (LRN) and over neighbouring positions (MapNorm)."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers import LRN, MapNorm
from alexnet_jax.net.ops.matmul import cpu_rounded_matmul, matmul
from alexnet_jax.net.ops.versions import by_platform
from alexnet_jax.net.ops.windows import sums_over_windows


def lrn(
    x: jax.Array, layer: LRN, before: jax.Array | None = None, after: jax.Array | None = None
) -> jax.Array:
    """Normalize over neighbouring channels.

    Args:
      x: the channels of one tower, in the last axis.
      layer: window and constants.
      before: last channels of the previous tower, as many as the window reaches; none by default.
      after: first channels of the next tower.
    """
    beside = [channels for channels in (before, x, after) if channels is not None]
    reached = jnp.concatenate(beside, axis=-1) if len(beside) > 1 else x
    return _lrn(reached, layer, 0 if before is None else before.shape[-1], x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _lrn(reached: jax.Array, layer: LRN, first: int, count: int) -> jax.Array:
    """Normalize ``count`` channels from ``first`` on, over all channels that their windows reach."""
    x = lax.slice_in_dim(reached, first, first + count, axis=-1)
    return (x * negative_power(_lrn_base(reached, layer, first, count), layer.beta)).astype(x.dtype)


def _lrn_forward(reached: jax.Array, layer: LRN, first: int, count: int) -> tuple[jax.Array, jax.Array]:
    return _lrn(reached, layer, first, count), reached


def _lrn_backward(layer: LRN, first: int, count: int, reached: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    """Differentiate y = x base^-beta, base = k + alpha sums of x^2. Autodiff would keep more than x."""
    base = _lrn_base(reached, layer, first, count)
    x = lax.slice_in_dim(reached, first, first + count, axis=-1)
    scaled = g * negative_power(base, layer.beta)
    before, after = layer.reach
    # The windows are reversed: from each sum back to the channels whose squares it contains.
    spread = _window_sums(scaled * x / base, x.dtype, (after, before), -first, reached.shape[-1])
    own = jnp.pad(scaled, [(0, 0)] * (x.ndim - 1) + [(first, reached.shape[-1] - first - count)])
    return ((own - 2 * layer.alpha_each * layer.beta * reached * spread).astype(x.dtype),)


_lrn.defvjp(_lrn_forward, _lrn_backward)


def _lrn_base(reached: jax.Array, layer: LRN, first: int, count: int) -> jax.Array:
    sums = _window_sums(reached * reached, reached.dtype, layer.reach, first, count)
    return layer.k + layer.alpha_each * sums


def _window_sums(
    x: jax.Array, dtype: jax.typing.DTypeLike, reach: tuple[int, int], first: int, count: int
) -> jax.Array:
    """Sum over a window around each of ``count`` channels from ``first`` on, in float32.

    The sum is a matrix product, the fastest operation of an accelerator. On a CPU it is rounded to ``dtype``.

    Args:
      x: channels in the last axis.
      dtype: type of the operands of the products.
      reach: number of channels in the window before and after its centre.
      first: the first centre; may lie outside of x.
      count: number of centres.
    """
    distance = jnp.arange(x.shape[-1])[:, None] - (first + jnp.arange(count))
    band = (distance >= -reach[0]) & (distance <= reach[1])
    sums: jax.Array = by_platform(x.astype(dtype), band.astype(dtype), cpu=cpu_rounded_matmul, default=matmul)
    return sums


def map_norm(x: jax.Array, layer: MapNorm) -> jax.Array:
    """Normalize over neighbouring positions of the same channel."""
    before = layer.window // 2
    padding = (before, layer.window - 1 - before)
    sums = sums_over_windows(jnp.square(x.astype(jnp.float32)), layer.window, 1, [padding] * 2)
    return (x * negative_power(1 + layer.alpha / layer.window**2 * sums, layer.beta)).astype(x.dtype)


def negative_power(x: jax.Array, beta: float) -> jax.Array:
    """Compute x^-beta for x > 0. The usual exponent, 3/4, needs no logarithm."""
    if beta == 0.75:
        root = lax.rsqrt(x)
        return root * jnp.sqrt(root)
    return x**-beta
