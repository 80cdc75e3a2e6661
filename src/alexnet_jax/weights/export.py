"""Write a trained network in the format of another framework."""

import dataclasses
import os

import jax
import numpy as np

from alexnet_jax import files
from alexnet_jax.errors import RunError
from alexnet_jax.files import absolute
from alexnet_jax.text import size_in_words
from alexnet_jax.training import metrics
from alexnet_jax.training.restored import Restored, restore
from alexnet_jax.weights.formats import Format, find
from alexnet_jax.weights.network import Network
from alexnet_jax.weights.request import check, paths

LIMIT = 1e-4
"""Largest difference of logits from those of the network, relative to its largest logit."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
      paths: the files; the first one has the parameters.
      sizes: number of bytes of each file.
      difference: largest difference between the logits that the runtime of the format computes and those of
        the network, relative to the largest logit; None if the format has no runtime.
    """

    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    difference: float | None

    def __str__(self) -> str:
        lines = [f"{path}: {size_in_words(size)}" for path, size in zip(self.paths, self.sizes, strict=True)]
        if self.difference is not None:
            lines.append(
                "its logits are those of the network: the largest difference is"
                f" {self.difference:.1e} of the largest logit"
            )
        return "\n".join(lines)


def export(
    net: str | os.PathLike[str] | Restored,
    to: str,
    save: str | os.PathLike[str],
    step: str | int = "last",
    preprocessing: bool = False,
) -> Exported:
    """Write a trained network in the format of another framework.

    The program that is written computes in float32. Before anything is written, it computes the logits of two
    images of noise, which must be those of the network. An existing file is replaced in one step.

    Args:
      net: a workdir, or a network from `restore`.
      to: ``safetensors`` (arrays, a PyTorch module and a model card), ``torch`` (a state dict and a PyTorch
        module), ``onnx`` or ``stablehlo`` (for `jax.export`).
      save: the file, a local path or a bucket's, which ends in .safetensors, .pth, .onnx or .stablehlo. The
        other files are written beside it.
      step: checkpoint of the workdir: ``last``, ``best`` (lowest validation error) or a number of updates.
      preprocessing: whether the program takes RGB images, uint8, of the size ``data.image_size``, crops them
        and subtracts the mean; by default it takes what the network sees, float32. For PyTorch and ONNX the
        shape is (batch, 3, height, width), for StableHLO (batch, height, width, 3).

    Returns:
      The paths of the files, their sizes, and how exactly the logits were those of the network.

    Raises:
      UserError: the format, its package, the name of the file or the checkpoint does not exist; the format
        can't express the network; or a file beside ``save`` is not by this function.
      RunError: the logits are not finite, or the program computes others.
      OSError: a file can't be written.
    """
    written = paths(to, save)
    if not isinstance(net, Restored):
        net = restore(net, step)
    check(to, net.config)
    network = _network(net, preprocessing)
    contents = find(to).contents(network, tuple(path.name for path in written))
    difference = _difference(network, find(to), contents, net)
    for path, content in zip(written, contents, strict=True):
        files.write(path, content)
    return Exported(tuple(map(os.fspath, written)), tuple(map(len, contents)), difference)


def _network(net: Restored, preprocessing: bool) -> Network:
    lines = metrics.read(absolute(net.workdir)).evaluations
    return Network(
        config=net.config,
        params=jax.tree.map(np.asarray, net.params),
        data=net.data,
        step=net.step,
        evaluations=tuple(line for line in lines if line["step"] == net.step),
        preprocessing=preprocessing,
    )


def _difference(network: Network, form: Format, contents: tuple[bytes, ...], net: Restored) -> float | None:
    """Compare the logits that a file gives with those of the network."""
    images = np.random.default_rng(0).integers(0, 256, (2, *network.data.image_size, 3), np.uint8)
    if not network.preprocessing:
        images = np.asarray(jax.jit(network.preprocess)(images))
    expected = np.asarray(jax.jit(network.logits)(network.params, images))
    if not np.isfinite(expected).all():
        raise RunError(
            f"the logits of {net.workdir} at step {net.step} are not finite, so the network has diverged:"
            " choose another checkpoint with --step"
        )
    found = form.logits(contents, images)
    if found is None:
        return None
    difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))
    if not difference <= LIMIT:
        raise RunError(
            f"nothing is written: the logits would differ by {difference:.1e} from those of the network, more"
            f" than {LIMIT}; please report this as a bug"
        )
    return difference
