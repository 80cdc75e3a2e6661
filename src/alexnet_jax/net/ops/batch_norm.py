"""Batch normalization, in training and at test. All sums and constants are float32."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers import BatchNorm


def in_training(
    xs: list[jax.Array], weights: dict[str, jax.Array], layer: BatchNorm, data_axis: str | None
) -> tuple[list[jax.Array], dict[str, jax.Array]]:
    """Normalize each group of examples by its own mean and variance.

    Args:
      xs: activations of each tower on this device, of shape (examples, ..., channels).
      weights: ``scale`` and ``bias``, of shape (towers, channels).
      layer: the layer, which has the size of a group.
      data_axis: mesh axis over which the examples are split, inside a ``shard_map``; None if they are not.

    Returns:
      The outputs; and the ``mean`` and ``variance`` for the running statistics, of shape (towers, channels):
      the means over the groups of this device, or over all groups if they lie on several devices. The
      variance is divided by the number of values minus 1, as in PyTorch.
    """
    examples, devices = len(xs[0]), 1 if data_axis is None else lax.axis_size(data_axis)
    group = layer.group_size(examples * devices)
    run = math.gcd(group, examples)  # consecutive examples on one device, in one group
    means_Tx2xKxC = jnp.stack([_means(x.reshape(examples // run, -1, x.shape[-1])) for x in xs])
    if run == group:
        of_groups_Tx2xGxC = means_Tx2xKxC
    else:  # a group lies on several devices
        first = lax.axis_index(data_axis) * examples
        group_K = (first + run * jnp.arange(examples // run)) // group
        groups_G = jnp.arange(examples * devices // group)
        part_GxK = (group_K == groups_G[:, None]).astype(jnp.float32) * (run / group)
        sums = jnp.einsum("gk,tmkc->tmgc", part_GxK, means_Tx2xKxC, precision=lax.Precision.HIGHEST)
        of_groups_Tx2xGxC = lax.psum(sums, data_axis)
        # The means are equal on all devices. Marked as different, they have a gradient that is one sum.
        means_Tx2xKxC = lax.pcast(of_groups_Tx2xGxC, data_axis, to="varying")[:, :, group_K]
    mean_TxKxC, variance_TxKxC = _mean_and_variance(means_Tx2xKxC)
    factor_TxKxC = weights["scale"][:, None] * lax.rsqrt(variance_TxKxC + layer.epsilon)
    ys = _scaled(xs, factor_TxKxC, weights["bias"][:, None] - mean_TxKxC * factor_TxKxC)
    mean_TxGxC, variance_TxGxC = _mean_and_variance(lax.stop_gradient(of_groups_Tx2xGxC))
    values = group * math.prod(xs[0].shape[1:-1])
    unbiased_TxGxC = variance_TxGxC * (values / (values - 1))
    return ys, {"mean": mean_TxGxC.mean(axis=1), "variance": unbiased_TxGxC.mean(axis=1)}


def at_test(xs: list[jax.Array], weights: dict[str, jax.Array], layer: BatchNorm) -> list[jax.Array]:
    """Normalize by the running statistics ``mean`` and ``variance``. For the arguments see `in_training`."""
    factor_TxC = weights["scale"] * lax.rsqrt(weights["variance"] + layer.epsilon)
    term_TxC = weights["bias"] - weights["mean"] * factor_TxC
    return _scaled(xs, factor_TxC[:, None], term_TxC[:, None])


def _means(x_KxNxC: jax.Array) -> jax.Array:
    """Return the means of x and of x^2 over N, of shape (2, K, C)."""
    x = x_KxNxC.astype(jnp.float32)
    return jnp.stack([x.mean(axis=1), jnp.square(x).mean(axis=1)])


def _mean_and_variance(means_Tx2xKxC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the mean of x and its variance, from the means of x and of x^2.

    The variance loses its digits if the mean is more than 1,000 standard deviations, as in Flax.
    """
    mean, square = means_Tx2xKxC[:, 0], means_Tx2xKxC[:, 1]
    return mean, jnp.maximum(square - jnp.square(mean), 0)


def _scaled(xs: list[jax.Array], factor_TxKxC: jax.Array, term_TxKxC: jax.Array) -> list[jax.Array]:
    """Return ``factor * x + term``, with one factor and term for each of K runs of examples."""
    return [
        (x.reshape(len(factor_KxC), -1, x.shape[-1]) * factor_KxC[:, None] + term_KxC[:, None])
        .astype(x.dtype)
        .reshape(x.shape)
        for x, factor_KxC, term_KxC in zip(xs, factor_TxKxC, term_TxKxC, strict=True)
    ]
