"""A trained network that is to be exported: its arrays, and the logits that every format must compute."""

import copy
import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data.cache import DataInfo
from alexnet_jax.net.shapes import Params
from alexnet_jax.net.torch_layout import torch_layout
from alexnet_jax.training.metrics import Evaluation

if TYPE_CHECKING:
    import jax


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A trained network, which computes in float32.

    Attributes:
      config: config of its training.
      params: its parameters, NumPy arrays, ``{"conv1": {"kernel", "bias"}, ...}``.
      data: description of the data that it was trained on.
      step: number of completed updates.
      evaluations: error rates of these parameters, as the run measured them.
      preprocessing: whether it takes uint8 images of ``data.image_size``; otherwise those that `preprocess`
        returns.
    """

    config: ConfigDict
    params: Params
    data: DataInfo
    step: int
    evaluations: tuple[Evaluation, ...]
    preprocessing: bool

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The parameters in PyTorch's layout; and ``mean_image``, of shape (3, height, width)."""
        mean_image = np.ascontiguousarray(self.data.mean_image.transpose(2, 0, 1))
        return torch_layout(self.params, self.config) | {"mean_image": mean_image}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of the images that it takes."""
        size = self.config.data.crop_size
        return (*self.data.image_size, 3) if self.preprocessing else (size, size, 3)

    @property
    def input_dtype(self) -> np.dtype:
        """The type of the images that it takes."""
        return np.dtype(np.uint8 if self.preprocessing else np.float32)

    @property
    def crop(self) -> tuple[slice, slice]:
        """The rows and the columns of the centre crop."""
        from alexnet_jax.data.augment import fixed_views  # imports JAX

        size = self.config.data.crop_size
        ((top, left, _),) = fixed_views(*self.data.image_size, size, 1, flip=False).tolist()
        return slice(top, top + size), slice(left, left + size)

    def preprocess(self, images_BxHxWx3: "jax.Array | np.ndarray") -> "jax.Array":
        """Crop the centre of uint8 images, subtract the mean image and divide by ``data.pixel_std``."""
        import jax.numpy as jnp

        rows, columns = self.crop
        centred = jnp.asarray(images_BxHxWx3)[:, rows, columns] - self.data.mean_image[rows, columns]
        return centred / self.config.data.pixel_std

    def logits(self, params: Params, images_BxHxWx3: "jax.Array | np.ndarray") -> "jax.Array":
        """Compute the logits, (batch, classes), by the definitions of the operations.

        Args:
          params: ``params``. With large constants instead of arguments, XLA takes long to compile.
          images_BxHxWx3: images of shape ``input_shape`` and type ``input_dtype``.
        """
        import jax
        import jax.numpy as jnp

        from alexnet_jax.net.model import apply, build
        from alexnet_jax.net.ops.versions import definitions

        config = copy.deepcopy(self.config)
        config.dtype = "float32"
        images = self.preprocess(images_BxHxWx3) if self.preprocessing else jnp.asarray(images_BxHxWx3)
        with definitions(), jax.default_matmul_precision("float32"):  # GPUs and TPUs would round by default
            return apply(build(config), params, images)
