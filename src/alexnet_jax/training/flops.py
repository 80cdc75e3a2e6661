"""The FLOPs of training, and how much of the devices' peak a run achieves."""

import dataclasses

from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.net.shapes import config_shapes
from alexnet_jax.runtime import chips


@dataclasses.dataclass(frozen=True)
class Flops:
    """The FLOPs of a run.

    Attributes:
      per_image: those of an image in an update, from `flops_per_image`.
      peak: those per second of all devices together at their published peak; None if it is unknown.
    """

    per_image: float
    peak: float | None

    def achieved(self, images_per_second: float) -> tuple[float, float | None]:
        """Return the FLOPs per second, and their fraction of the peak, the model FLOP utilization (MFU).

        Section 4.1 of PaLM (arXiv 2204.02311) defines the MFU: the observed throughput over that of a system
        at its peak which computes only what the model needs. It is None if the peak is unknown.
        """
        per_second = self.per_image * images_per_second
        return per_second, None if self.peak is None else per_second / self.peak


def flops_of(config: ConfigDict, mesh: Mesh) -> Flops:
    """Return the FLOPs of a config's run on the devices of a mesh."""
    peaks = [chips.peak(device.device_kind, config.dtype) for device in mesh.devices.flat]
    known = [each for each in peaks if each is not None]
    return Flops(flops_per_image(config), sum(known) if len(known) == len(peaks) else None)


def flops_per_image(config: ConfigDict) -> float:
    """Return the FLOPs of the convolutions and matrix products of an update, for each image.

    A multiplication and its addition are two FLOPs. The backward pass has twice the products of the forward
    pass: for the gradients of the inputs, and of the weights. But the image needs no gradient, so the first
    layer with weights has only the latter. The other operations do not count.
    """
    total = 0.0
    passes = 2
    for shapes in config_shapes(config):
        if shapes.weights is not None:
            total += 2 * shapes.weights.multiplications * passes
            passes = 3
    return total
