"""A workdir: what a run writes beside its checkpoints, and a net that has learned, read back."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.config import saved
from alexnet_jax.data.augment import Statistics, statistics
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.errors import UserError
from alexnet_jax.files import absolute
from alexnet_jax.net.model import Net, Params, build
from alexnet_jax.parallel.mesh import DATA, local_mesh
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.step import features, log_probabilities


@dataclasses.dataclass(frozen=True, eq=False)
class Restored:
    """A net that has learned.

    Attributes:
      model: as from `model.build`.
      params: its parameters, on ``mesh``.
      config: that it was trained with.
      step: updates done.
      data: what it was trained on: class names, mean image, sizes.
      mesh: the devices it runs on.
    """

    model: Net
    params: Params
    config: ConfigDict
    step: int
    data: DataInfo
    mesh: Mesh

    def predict_proba(self, images_uint8: np.ndarray, views: int = 1) -> np.ndarray:
        """Probabilities of each class.

        Args:
          images_uint8: uint8 of shape (batch, height, width, 3), of the size in ``data.image_size``;
            they are cropped, and the mean is subtracted, here.
          views: 1, the centre; or 10, the average over corners, centre and their mirror images.

        Returns:
          Float32 of shape (batch, classes).

        Raises:
          ValueError: images of another type or size, or another number of views.
        """
        if views not in (1, 10):
            raise ValueError(f"views must be 1 or 10, not {views}")
        return np.exp(self._on_mesh(functools.partial(self.log_probabilities, views=views), images_uint8))

    def features(self, images_uint8: np.ndarray) -> np.ndarray:
        """The last hidden layer, which the classifier reads, of the images' centres.

        Args:
          images_uint8: as in `predict_proba`.

        Returns:
          Float32 of shape (batch, units), a tower's units after the other's.

        Raises:
          ValueError: images of another type or size.
        """
        compute = functools.partial(self._compiled_features, self.params, statistics=self._statistics)
        return self._on_mesh(compute, images_uint8)

    def _on_mesh(self, compute: Callable[[jax.Array], jax.Array], images_uint8: np.ndarray) -> np.ndarray:
        """Of any number of images, filled up to what the mesh can split."""
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
        """As `predict_proba`, of uint8 images that are on the mesh already, and logarithms."""
        return self._compiled(self.params, images_BxHxWx3, self._statistics, views)

    @functools.cached_property
    def _compiled(self) -> Callable[..., jax.Array]:
        return log_probabilities(self.model, self.config.data, self.mesh)

    @functools.cached_property
    def _compiled_features(self) -> Callable[..., jax.Array]:
        return features(self.model, self.config.data, self.mesh)

    @functools.cached_property
    def _statistics(self) -> Statistics:
        info, reading = self.data, self.config.data.color_noise_reading
        return statistics(info.mean_image, info.color_covariance, reading, self.mesh)


def restore(workdir: str | os.PathLike[str], step: str | int = "last", mesh: Mesh | None = None) -> Restored:
    """A net from the checkpoints of a workdir, on any devices.

    Args:
      workdir: where `train` ran.
      step: ``last``, ``best`` (lowest validation error) or a number.
      mesh: the devices; by default one, the first of this process.

    Raises:
      UserError: no workdir, no such checkpoint, or a damaged one.
    """
    config, data = read_workdir(workdir)
    model = build(config)
    mesh = local_mesh() if mesh is None else mesh
    with Checkpoints(absolute(workdir)) as checkpoints:
        number, params = checkpoints.restore_params(step, model, mesh)
    return Restored(model, params, config, number, data, mesh)


def check_alike(workdirs: Sequence[str], nets: Sequence[Restored], info: DataInfo) -> None:
    """Nets may be averaged, and tested on these images.

    Raises:
      UserError: one that has other classes, another number of outputs or takes other sizes.
    """
    for workdir, net in zip(workdirs, nets, strict=True):
        if net.data.class_names != info.class_names:
            raise UserError(f"{workdir} was trained on other classes than {info.source} has")
        if net.config.net.layers[-1].classes != nets[0].config.net.layers[-1].classes:
            raise UserError(f"{workdir} has another number of outputs than {workdirs[0]}")
        if net.data.image_size != info.image_size:
            raise UserError(f"{workdir} takes images of {net.data.image_size}, not {info.image_size}")


def read_workdir(workdir: str | os.PathLike[str]) -> tuple[ConfigDict, DataInfo]:
    """A workdir's config and what it knows of its data."""
    path = absolute(workdir)
    if not (path / "config.json").exists():
        raise UserError(f"{workdir} is no workdir: it has no config.json; train makes one")
    try:
        return saved.from_json((path / "config.json").read_text()), DataInfo.load(path)
    except UserError as error:
        raise UserError(f"{workdir}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{workdir} is damaged: config.json or data.json can't be read ({error})") from error


def write_workdir(workdir: str | os.PathLike[str], config: ConfigDict, info: DataInfo) -> None:
    """What evaluation needs, beside the parameters.

    Raises:
      UserError: it can't be written.
    """
    path = absolute(workdir)
    try:
        path.mkdir(parents=True, exist_ok=True)
        info.save(path)
        files.write(path / "config.json", saved.to_json(config).encode())  # the last: now it is a workdir
    except OSError as error:
        raise UserError(f"the workdir {workdir} can't be written: {error.strerror or error}") from error
