"""The features of windows: two layers of a trained network."""

import dataclasses
import functools
import json
import zlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.data.augment import Statistics, test_view
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.detection.windows import LEAST_SIDE
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.net.model import hidden
from alexnet_jax.net.shapes import Params, multiplications
from alexnet_jax.runtime.compiler import compiler_options
from alexnet_jax.training.checksums import checksums
from alexnet_jax.training.restored import Restored

_AT_ONCE = 64  # windows in a batch
_GRAIN = 16  # the last batch is filled up to a multiple of this: four programs, and few empty windows


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of some windows, float16.

    Attributes:
      units_NxU: the input of the classifier, as fc7 in the paper's network: for the classes.
      maps_NxM: the last feature maps, as pool5, flattened: for the regression of boxes.
    """

    units_NxU: np.ndarray
    maps_NxM: np.ndarray


def joined(parts: Sequence[Features]) -> Features:
    """Return the features of all parts, in their order."""
    names = [field.name for field in dataclasses.fields(Features)]
    return Features(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclasses.dataclass(frozen=True, eq=False)
class Extractor:
    """A network that computes the features of windows.

    Attributes:
      net: the network. Its images are windows: they have the size of its crops.
      identity: text that differs for other weights.
    """

    net: Restored
    identity: str

    @functools.cached_property
    def fill(self) -> np.ndarray:
        """The mean image of the network, uint8 of shape (side, side, 3): a window beyond its photograph."""
        return np.round(self.net.data.mean_image).clip(0, 255).astype(np.uint8)

    def __call__(self, windows_NxSxSx3: np.ndarray) -> Features:
        """Compute the features of windows, uint8.

        Raises:
          RunError: a feature is not finite, or too large for float16.
        """
        parts = []
        for start in range(0, max(1, len(windows_NxSxSx3)), _AT_ONCE):
            windows = windows_NxSxSx3[start : start + _AT_ONCE]
            empty = -len(windows) % _GRAIN if len(windows) else _GRAIN
            filled = np.pad(windows, [(0, empty), (0, 0), (0, 0), (0, 0)])
            found = self._compiled(self.net.params, filled, self.net.statistics)
            parts.append(Features(*(np.asarray(x)[: len(windows)] for x in found)))
        features = joined(parts)
        if not all(np.isfinite(x).all() for x in vars(features).values()):
            raise RunError(
                f"features of {self.net.workdir} at step {self.net.step} are not finite in float16: take a"
                " network that has not diverged"
            )
        return features

    @functools.cached_property
    def _compiled(self) -> Callable[..., tuple[jax.Array, jax.Array]]:
        model, data = self.net.model, self.net.config.data
        maps_layer = [each.layer.name for each in model.shapes if len(each.outputs) == 3][-1]

        options = compiler_options(self.net.mesh, multiplications(model.shapes))

        @functools.partial(jax.jit, compiler_options=options)
        def features(
            params: Params, images: jax.Array, statistics: Statistics
        ) -> tuple[jax.Array, jax.Array]:
            views = test_view(images, jnp.zeros(3, jnp.int32), statistics, data)
            maps = hidden(model, params, views, maps_layer)  # XLA computes the common layers once
            units = hidden(model, params, views)
            return units.astype(jnp.float16), maps.reshape(len(maps), -1).astype(jnp.float16)

        return features


def extractor(net: Restored, random_seed: int | None = None) -> Extractor:
    """Return the extractor of a network, which sees windows in the size of its crops.

    Args:
      net: network from `restore`.
      random_seed: seed of random weights that replace the trained ones, as a baseline; None to keep them.

    Raises:
      UserError: the input of the network is too small, or it has no feature maps.
    """
    side = net.config.data.crop_size
    if side < LEAST_SIDE:
        raise UserError(
            f"{net.workdir} sees {side}x{side} pixels, too few for detection: train a network with"
            f" data.crop_size of at least {LEAST_SIDE}"
        )
    if not any(len(each.outputs) == 3 for each in net.model.shapes):
        raise UserError(f"{net.workdir} has no feature maps: train a network with convolutions")
    if random_seed is not None:
        net = net.with_random_weights(random_seed)
    sums = checksums(net.params)[0]
    identity = f"weights {zlib.crc32(json.dumps(sums, sort_keys=True).encode()):08x}"
    return Extractor(dataclasses.replace(net, data=of_windows(net)), identity)


def of_windows(net: Restored) -> DataInfo:
    """Return the description of a network's data for images that are as large as its crops."""
    height, width = net.data.image_size
    side = net.config.data.crop_size
    top, left = (height - side) // 2, (width - side) // 2
    mean = net.data.mean_image[top : top + side, left : left + side]
    return dataclasses.replace(net.data, image_size=(side, side), mean_image=mean)
