"""Convolution, and locally connected layers. Images are BxHxWxC.

The definition comes first. Below it are the versions for GPUs and CPUs, which must equal it.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers import Local
from alexnet_jax.net.ops.versions import by_platform, has_amx
from alexnet_jax.net.ops.windows import windows_as_channels

NARROW = 8
"""With fewer input channels, as an image has, other forms of a convolution and its gradients are faster."""
IMAGES = 8
"""Largest number of images that `_cpu_kernel_gradient` processes at a time.

With more, the bits of small networks depend on the number of threads.
"""
_LAYOUT = ("NHWC", "HWIO", "NHWC")


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel_HxWxIxO: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """Compute the cross-correlation that network libraries call convolution.

    Args:
      x: images, BxHxWxI.
      kernel_HxWxIxO: weights.
      stride: distance between neighbouring windows, along the rows and the columns.
      padding: number of zeros (before, after), along the rows and along the columns.
    """
    return by_platform(
        x,
        kernel_HxWxIxO,
        cuda=lambda x, kernel: _gpu_conv(x, kernel, stride, padding),
        default=lambda x, kernel: _conv(x, kernel, stride, padding),
    )


def _conv(x: jax.Array, kernel_HxWxIxO: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """Define `conv`: every version must equal this one."""
    return lax.conv_general_dilated(
        x, kernel_HxWxIxO, (stride, stride), (padding, padding), dimension_numbers=_LAYOUT
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
        by_x = _cpu_input_gradient(x, kernel, g, stride, padding)
        return by_x, _cpu_kernel_gradient(x, g, kernel.shape[:2], stride, padding)

    def by_autodiff(
        version: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array, g: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        by_x, by_kernel = jax.vjp(lambda x, kernel: version(x, kernel, stride, padding), x, kernel)[1](g)
        return by_x, by_kernel

    on_gpu, elsewhere = (functools.partial(by_autodiff, version) for version in (_gpu_conv, _conv))
    gradients: tuple[jax.Array, jax.Array] = by_platform(
        x, kernel, g, cpu=on_cpu, cuda=on_gpu, default=elsewhere
    )
    return gradients


conv.defvjp(_conv_forward, _conv_backward)


def local(x: jax.Array, kernel_HxWxIxO: jax.Array, layer: Local) -> jax.Array:
    """Apply a different kernel at each position.

    Args:
      x: images, BxHxWxC.
      kernel_HxWxIxO: weights for each position; I counts the rows, columns and channels of a window.
      layer: size of the windows and padding.
    """
    # Positions come first: each has a separate product. The windows are made in float32, because
    # their gradient is a sum over windows.
    around = [(0, 0), layer.padding, layer.padding, (0, 0)]
    padded_HxWxBxC = jnp.pad(x.astype(jnp.float32), around).transpose(1, 2, 0, 3)
    windows_HxWxBxI = windows_as_channels(padded_HxWxBxC, 0, (layer.kernel, layer.kernel)).astype(x.dtype)
    # With the transposition, oneDNN on CPUs would use its reference implementation, fifty times slower.
    products_HxWxBxO = lax.optimization_barrier(jnp.matmul(windows_HxWxBxI, kernel_HxWxIxO))
    return products_HxWxBxO.transpose(2, 0, 1, 3)


def _gpu_conv(
    x_BxHxWxI: jax.Array, kernel_HxWxIxO: jax.Array, stride: int, padding: tuple[int, int]
) -> jax.Array:
    """Compute `conv` on a GPU.

    If there are few input channels, as in an image, each block of stride x stride pixels becomes one pixel
    with more channels ("space to depth"): tensor cores need at least eight channels. The kernel is padded to
    whole blocks. On an H200 the paper's first layer is eight times faster (docs/performance.md).
    """
    size = kernel_HxWxIxO.shape[0]
    if x_BxHxWxI.shape[-1] >= NARROW or stride == 1 or size != kernel_HxWxIxO.shape[1]:
        return _conv(x_BxHxWxI, kernel_HxWxIxO, stride, padding)
    blocks = -(-size // stride)  # in a row or a column of the kernel

    def in_blocks(x: jax.Array, axis: int, counts: Sequence[int], before: int) -> jax.Array:
        """Turn the pixels of each block into channels of one pixel.

        Args:
          x: array with two axes of pixels, followed by an axis of channels.
          axis: the first axis of pixels.
          counts: number of blocks along each axis of pixels.
          before: number of zeros before the first pixels. At the end zeros are added or pixels removed.
        """
        config = [(0, 0, 0)] * x.ndim
        for i, count in enumerate(counts):
            config[axis + i] = (before, count * stride - before - x.shape[axis + i], 0)
        x = lax.pad(x, jnp.zeros((), x.dtype), config)
        head, (height, width), (channels, *tail) = x.shape[:axis], counts, x.shape[axis + 2 :]
        x = x.reshape(*head, height, stride, width, stride, channels, *tail)
        x = jnp.moveaxis(x, axis + 2, axis + 1)
        return x.reshape(*head, height, width, stride * stride * channels, *tail)

    outputs = [(extent + sum(padding) - size) // stride + 1 for extent in x_BxHxWxI.shape[1:3]]
    x_in_blocks = in_blocks(x_BxHxWxI, 1, [count - 1 + blocks for count in outputs], padding[0])
    return _conv(x_in_blocks, in_blocks(kernel_HxWxIxO, 0, (blocks, blocks), 0), 1, (0, 0))


def _cpu_input_gradient(
    x_BxHxWxI: jax.Array,
    kernel_HxWxIxO: jax.Array,
    g_BxPxQxO: jax.Array,
    stride: int,
    padding: tuple[int, int],
) -> jax.Array:
    """Compute the gradient of `conv` with respect to x from the gradient of the output.

    With stride 1 it is g convolved with the rotated kernel. XLA's own form of the gradient has the same bits,
    but in a loop it is a hundred times slower. Images take XLA's form: all towers read the same image, and
    only for that form does JAX add up the gradients of the towers.
    """
    if stride == 1 and x_BxHxWxI.shape[-1] >= NARROW:
        rotated_HxWxOxI = kernel_HxWxIxO[::-1, ::-1].swapaxes(2, 3)
        before, after = ([extent - 1 - zeros for extent in kernel_HxWxIxO.shape[:2]] for zeros in padding)
        return lax.conv_general_dilated(
            g_BxPxQxO,
            rotated_HxWxOxI,
            (1, 1),
            list(zip(before, after, strict=True)),
            dimension_numbers=_LAYOUT,
        )
    transposed = jax.linear_transpose(lambda x: _conv(x, kernel_HxWxIxO, stride, padding), x_BxHxWxI)
    (by_x_BxHxWxI,) = transposed(g_BxPxQxO)
    return by_x_BxHxWxI


def _cpu_kernel_gradient(
    x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array, size: Sequence[int], stride: int, padding: tuple[int, int]
) -> jax.Array:
    """Compute the gradient of `conv` with respect to the kernel, ``(*size, I, O)``, from that of the output.

    A few images at a time fit in the cache. Their gradients are summed in float32.
    """
    enough_channels = x_BxHxWxI.shape[-1] >= NARROW
    as_product = stride == 1 and enough_channels and x_BxHxWxI.dtype == jnp.bfloat16 and has_amx()

    def gradient(x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array) -> jax.Array:
        if as_product:
            return _kernel_gradient_as_product(x_BxHxWxI, g_BxPxQxO, size, padding)
        return _kernel_gradient_as_conv(x_BxHxWxI, g_BxPxQxO, size, stride, padding)

    images = max(n for n in range(1, IMAGES + 1) if len(x_BxHxWxI) % n == 0)
    chunks = [x.reshape(-1, images, *x.shape[1:]) for x in (x_BxHxWxI, g_BxPxQxO)]
    first = jax.eval_shape(gradient, *(x[0] for x in chunks))
    # Made from g, so that it varies over the same mesh axes.
    zeros = jnp.full_like(g_BxPxQxO, 0, jnp.float32, shape=first.shape)
    sums, _ = lax.scan(lambda sums, chunk: (sums + gradient(*chunk), None), zeros, chunks)
    return sums.astype(x_BxHxWxI.dtype)


def _kernel_gradient_as_conv(
    x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array, size: Sequence[int], stride: int, padding: tuple[int, int]
) -> jax.Array:
    """Compute `_cpu_kernel_gradient` as a convolution in which images and channels are exchanged."""
    by_kernel_IxHxWxO = lax.conv_general_dilated(
        x_BxHxWxI.transpose(3, 1, 2, 0),
        g_BxPxQxO.transpose(1, 2, 0, 3),
        (1, 1),
        (padding, padding),
        rhs_dilation=(stride, stride),
        dimension_numbers=_LAYOUT,
    )
    # Without the barrier, XLA may add the sums in oneDNN, which rounds them to the type of x.
    by_kernel_IxHxWxO = lax.optimization_barrier(by_kernel_IxHxWxO)
    # If the stride leaves a remainder, the result has more rows and columns than the kernel.
    return by_kernel_IxHxWxO.transpose(1, 2, 0, 3)[: size[0], : size[1]]


def _kernel_gradient_as_product(
    x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array, size: Sequence[int], padding: tuple[int, int]
) -> jax.Array:
    """Compute `_cpu_kernel_gradient` for stride 1 as a product of g and the windows of x.

    On CPUs with AMX this is faster for bfloat16 (docs/notebook.md).
    """
    padded_BxHxWxI = jnp.pad(x_BxHxWxI, [(0, 0), padding, padding, (0, 0)])
    windows_BxPxQxK = windows_as_channels(padded_BxHxWxI, 1, size)
    features = g_BxPxQxO.shape[-1]
    g_OxN = g_BxPxQxO.reshape(-1, features).T
    by_kernel_OxK = jnp.matmul(g_OxN, windows_BxPxQxK.reshape(-1, windows_BxPxQxK.shape[-1]))
    by_kernel_OxK = lax.optimization_barrier(by_kernel_OxK)  # as in _kernel_gradient_as_conv
    return by_kernel_OxK.T.reshape(*size, -1, features)
