"""A trained network that is read back from the checkpoints of a workdir, on any devices."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Self

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax.data.augment import Statistics, statistics
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.errors import UserError
from alexnet_jax.files import absolute
from alexnet_jax.net.model import Net, build, hidden, init
from alexnet_jax.net.shapes import Params
from alexnet_jax.parallel.axes import DATA
from alexnet_jax.parallel.mesh import data_mesh, local_mesh
from alexnet_jax.parallel.placement import on_devices
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.step import features, log_probabilities
from alexnet_jax.training.workdir import read_workdir


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Restored:
    """A trained network, as `restore` returns it.

    Attributes:
      model: the module that `build` makes from ``config``.
      params: its parameters, ``{"conv1": {"kernel", "bias"}, ...}``, on ``mesh``. Each array has a leading
        tower axis.
      config: the config that it was trained with.
      step: number of completed updates.
      data: description of the data that it was trained on: class names, mean image, sizes.
      mesh: the devices that it runs on.
      workdir: the directory that it was read from.
    """

    model: Net
    params: Params
    config: ConfigDict
    step: int
    data: DataInfo
    mesh: Mesh
    workdir: str

    def __repr__(self) -> str:
        return f"Restored(workdir={self.workdir!r}, step={self.step}, mesh={dict(self.mesh.shape)})"

    def predict_proba(self, images_uint8: np.ndarray, views: int = 1) -> np.ndarray:
        """Compute the probability of each class.

        Args:
          images_uint8: RGB images, uint8 of shape (batch, height, width, 3). Height and width are those of
            ``data.image_size``, in pixels. This method crops them and subtracts the mean.
          views: 1 for the centre crop; 10 for the average over the corners, the centre and their mirror
            images.

        Returns:
          Float32 of shape (batch, classes), between 0 and 1. Each row sums to 1.

        Raises:
          ValueError: the images have another type or size, or ``views`` is neither 1 nor 10.
        """
        check_views(views)
        return np.exp(self._on_mesh(functools.partial(self.log_probabilities, views=views), images_uint8))

    def features(self, images_uint8: np.ndarray, layer: str | None = None, views: int = 1) -> np.ndarray:
        """Compute the activations of a layer for each image.

        Args:
          images_uint8: as in `predict_proba`.
          layer: name of the layer in ``config.net.layers``. ``fc7`` gives the activations before the ReLU,
            ``relu7`` those after it, ``drop7`` those times the factor that dropout has at test. By default
            the last hidden layer: what the classifier reads, including that factor.
          views: 1 for the centre crop; 10 for the mean of the activations over the ten crops.

        Returns:
          Float32 of shape (batch, units) or (batch, height, width, channels): the units or channels of the
          first tower, then those of the second. The default layer is flattened for each tower. The name of
          the classifier gives the logits, of shape (batch, classes).

        Raises:
          UserError: there is no such layer.
          ValueError: the images have another type or size, or ``views`` is neither 1 nor 10.
        """
        check_views(views)
        compiled = self._compiled_features(layer)

        def compute(images: jax.Array) -> jax.Array:
            return compiled(self.params, images, self.statistics, views)

        return self._on_mesh(compute, images_uint8)

    def with_random_weights(self, seed: int) -> Self:
        """Return the same network with random weights, as a baseline."""
        drawn = init(self.model, jax.random.key(seed))
        params = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), drawn, self.params)
        return dataclasses.replace(self, params=params)

    def feature_shape(self, layer: str | None = None) -> tuple[int, ...]:
        """Return the shape of the `features` of one image: (units,) or (height, width, channels).

        Raises:
          UserError: there is no such layer.
        """
        images = jax.ShapeDtypeStruct((1, *self.model.image_shape), np.float32)
        found = jax.eval_shape(functools.partial(hidden, self.model, layer=layer), self.params, images)
        return tuple(found.shape[1:])

    def _on_mesh(self, compute: Callable[[jax.Array], jax.Array], images_uint8: np.ndarray) -> np.ndarray:
        """Compute a function of any number of images, which are padded so that the mesh can split them."""
        images_uint8 = np.asarray(images_uint8)
        expected = (*self.data.image_size, 3)
        if images_uint8.dtype != np.uint8 or images_uint8.shape[1:] != expected:
            raise ValueError(
                f"images must be uint8 of shape (batch, {', '.join(map(str, expected))}),"
                f" not {images_uint8.dtype} of shape {images_uint8.shape}"
            )
        batch, shards = len(images_uint8), self.mesh.shape[DATA]
        filled = shards * max(1, -(-batch // shards))
        full = np.pad(images_uint8, [(0, filled - batch), (0, 0), (0, 0), (0, 0)])
        images = jax.device_put(full, NamedSharding(self.mesh, P(DATA)))
        return np.asarray(compute(images))[:batch]

    def log_probabilities(self, images_BxHxWx3: jax.Array, views: int) -> jax.Array:
        """Return the logarithms of `predict_proba` for uint8 images that are already on the mesh."""
        return self._compiled(self.params, images_BxHxWx3, self.statistics, views)

    @functools.cached_property
    def _compiled(self) -> Callable[..., jax.Array]:
        return log_probabilities(self.model, self.config.data, self.mesh)

    @functools.cached_property
    def _compiled_features(self) -> Callable[[str | None], Callable[..., jax.Array]]:
        return functools.cache(functools.partial(features, self.model, self.config.data, self.mesh))

    @functools.cached_property
    def statistics(self) -> Statistics:
        """The statistics of the training images that the augmentation needs, on ``mesh``."""
        info, reading = self.data, self.config.data.color_noise_reading
        return on_devices(statistics(info.mean_image, info.color_covariance, reading), self.mesh)


def restore(workdir: str | os.PathLike[str], step: str | int = "last", mesh: Mesh | None = None) -> Restored:
    """Read a trained network from the checkpoints of a workdir, onto any devices.

    Only the parameters are read, not the state of the optimizer.

    Args:
      workdir: the directory that `train` wrote, a local path or a bucket's.
      step: ``last``, ``best`` (lowest validation error) or a number of updates.
      mesh: the devices to run on; by default the first device of this process.

    Raises:
      UserError: the directory is no workdir, or has no such checkpoint, or the checkpoint is damaged.
    """
    config, data = read_workdir(workdir)
    model = build(config)
    mesh = local_mesh() if mesh is None else mesh
    with Checkpoints(absolute(workdir)) as checkpoints:
        number, params = checkpoints.restore_params(step, model, mesh)
    return Restored(model, params, config, number, data, mesh, os.fspath(workdir))


def as_restored(net: Restored | str | os.PathLike[str]) -> Restored:
    """Return a network. If it is a workdir, restore its last checkpoint on all devices."""
    return net if isinstance(net, Restored) else restore(net, mesh=data_mesh())


def check_views(views: int) -> None:
    """Check a number of crops of each image.

    Raises:
      ValueError: it is neither 1 nor 10.
    """
    if views not in (1, 10):
        raise ValueError(f"views must be 1 or 10, not {views}")


def check_alike(nets: Sequence[Restored], info: DataInfo) -> None:
    """Check that networks can be averaged, and that they can read these images.

    Args:
      nets: the networks.
      info: description of the images.

    Raises:
      UserError: a network has other classes, another number of outputs, or takes images of another size or
        images that were resized in another way.
    """
    for net in nets:
        if net.data.class_names != info.class_names:
            raise UserError(f"{net.workdir} was trained on other classes than {info.source} has")
        if net.config.net.layers[-1].classes != nets[0].config.net.layers[-1].classes:
            raise UserError(f"{net.workdir} has another number of outputs than {nets[0].workdir}")
        if net.data.image_size != info.image_size:
            raise UserError(f"{net.workdir} takes images of {net.data.image_size}, not {info.image_size}")
        if net.config.data.resize != nets[0].config.data.resize:
            resizes = net.config.data.resize, nets[0].config.data.resize
            raise UserError(f"{net.workdir} takes images with data.resize = {resizes[0]}, not {resizes[1]}")
