"""The features of many images at once: of a network, of the same with random weights, and their pixels."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from alexnet_jax.data.images import square
from alexnet_jax.errors import UserError
from alexnet_jax.loops.activations import Inputs, activations, layer_name
from alexnet_jax.runtime import progress
from alexnet_jax.training.restored import Restored

_PIXELS = 32  # side of the images for the baseline of pixels


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix:
    """The features of all images in memory.

    Attributes:
      name: what they are.
      features: float32 of shape (images, features).
      images_per_second: speed without the first batch; None for pixels, or if there was only one batch.
    """

    name: str
    features: np.ndarray
    images_per_second: float | None


def matrices(
    net: Restored,
    inputs: Inputs,
    layer: str | None,
    views: int,
    seed: int,
    baselines: bool,
    say: Callable[[str], None],
) -> Iterator[Matrix]:
    """Yield the features of a layer, and then those of the baselines.

    Args:
      net: a network from `restore`.
      inputs: the images.
      layer: name of the layer; see `Restored.features`. Rows and columns are flattened.
      views: number of crops of each image, 1 or 10.
      seed: seed of the random weights.
      baselines: whether to yield the same features with the initial weights of the network, drawn again, and
        the pixels at 32x32.
      say: function that takes a line of text about each step.

    Raises:
      UserError: there is no such layer, or an image can't be read.
      RunError: an activation is not finite.
    """
    name = layer_name(net, layer)
    dimensions = math.prod(net.feature_shape(layer))
    say(f"computing {dimensions:,} features of each of {len(inputs.names):,} images: {name}")
    yield Matrix(name, *_features(net, inputs, layer, views, dimensions, say))
    if baselines:
        say("computing the same with random weights")
        random = net.with_random_weights(seed)
        yield Matrix(f"{name}, random weights", *_features(random, inputs, layer, views, dimensions, say))
        side = min(_PIXELS, net.data.image_size[0])
        pixels = np.empty((len(inputs.names), 3 * side**2), np.float32)
        for i in range(len(pixels)):
            pixels[i] = square(inputs.read(i), side)[0].ravel()
        yield Matrix(f"pixels, {side}x{side}", pixels, None)


def _features(
    net: Restored,
    inputs: Inputs,
    layer: str | None,
    views: int,
    dimensions: int,
    say: Callable[[str], None],
) -> tuple[np.ndarray, float | None]:
    features = np.empty((len(inputs.names), dimensions), np.float32)
    done = compiled = 0
    began = time.perf_counter()
    with progress.Long(0, len(features), "image", say) as bar:
        for batch in activations(net, inputs, layer, views):
            for row, reason in batch.left_out.items():
                raise UserError(f"{inputs.names[row]} can't be read: {reason}")
            features[done : batch.end] = batch.features.reshape(batch.end - done, -1)
            bar.add(batch.end - done)
            if done == 0:
                compiled, began = batch.end, time.perf_counter()
            done = batch.end
    speed = (done - compiled) / (time.perf_counter() - began)
    return features, speed or None
