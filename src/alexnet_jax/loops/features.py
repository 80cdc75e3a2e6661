"""Write the activations of a layer for many images to a file. Read it from top to bottom."""

import dataclasses
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.data.dataset import open_cache_of
from alexnet_jax.loops.activations import activations, layer_name, of_files, of_splits
from alexnet_jax.loops.feature_file import FeatureFile, check_path
from alexnet_jax.runtime import progress
from alexnet_jax.training.checksums import checksum, checksums
from alexnet_jax.training.restored import Restored, as_restored, check_views


@dataclasses.dataclass(frozen=True)
class Features:
    """A file of features, as `features` writes it.

    Attributes:
      path: path of the file; the JSON file beside it has the same name and ``.json``.
      shape: (images, units) or (images, height, width, channels).
      left_out: the reason for each image that can't be read and has no row, by its name.
      images_per_second: speed of this run without the first batch; None if it computed one batch or none.
    """

    path: str
    shape: tuple[int, ...]
    left_out: dict[str, str]
    images_per_second: float | None


def features(
    net: Restored | str | os.PathLike[str],
    save: str | os.PathLike[str],
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    split: str | None = None,
    layer: str | None = None,
    views: int = 1,
    data: Mapping[str, Any] | ConfigDict | None = None,
    say: Callable[[str], None] = progress.say,
    complain: Callable[[str], None] = progress.complain,
) -> Features:
    """Write the activations of a layer for image files, or for a split of a data set, to a file.

    The rows are written as they are computed. After an interruption the same call continues, and ends with
    the same bytes on the same devices. If the file is complete, nothing is computed.

    Args:
      net: a network from `restore`, whose whole mesh is used; or a workdir, whose last checkpoint is restored
        on all devices.
      save: the file. ``.npy`` holds float32 of ``shape``; the JSON file beside it has the names and labels of
        the rows. ``.parquet`` has a row for each image: its name, its label, its class and its flattened
        features.
      paths: files and folders of images. None for a split of a data set, whose labels are known.
      split: ``train``, ``validation`` or ``test``; by default test, or validation for data without test.
      layer: name of the layer, and by default the input of the classifier; see `Restored.features`.
      views: 1 for the centre crop; 10 for the mean of the activations over the ten crops.
      data: settings that locate the images of the split, as in `evaluate`.
      say: function that takes a line of text about the progress.
      complain: function that takes a line of text about each image that can't be read and is left out.

    Returns:
      The shape of the features, and the images that are left out.

    Raises:
      UserError: there is no such layer or no such split, there are no images, the images of the split are not
        on this machine, or the file can't be continued because it holds other features.
      RunError: an activation is not finite.
      ValueError: ``views`` is neither 1 nor 10, or both ``paths`` and ``split`` are given.
      OSError: the file can't be written.
    """
    check_views(views)
    if paths is not None and split is not None:
        raise ValueError("pass paths or split, not both")
    path = check_path(save)
    net = as_restored(net)

    # ---- Images ---------------------------------------------------------------------------------
    if paths is None:
        cache = open_cache_of(net.config.data, net.data, dict(data or {}), say)
        inputs = of_splits(cache, [cache.info.test_split(split)])
    else:
        named = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        inputs = of_files(named, net.config.data, complain)

    # ---- What the file holds --------------------------------------------------------------------
    shape = net.feature_shape(layer)
    sums = [checksums(net.params)[0], checksum(net.data.mean_image)]
    request = {
        "layer": layer_name(net, layer),
        "views": views,
        "weights": f"step {net.step}, {zlib.crc32(json.dumps(sums, sort_keys=True).encode()):08x}",
        "images": inputs.identity,
    }
    about = {"workdir": net.workdir, "step": net.step, "layer": request["layer"], "views": views}

    # ---- One pass -------------------------------------------------------------------------------
    with FeatureFile(path, request, shape) as file:
        if file.record is not None:
            say(f"nothing to do: {path} is complete")
            for name, reason in file.record["left_out"].items():
                complain(f"{name} is left out: {reason}")
            return Features(str(path), tuple(file.record["shape"]), file.record["left_out"], None)
        if file.done:
            say(f"continuing {path} after {file.done:,} of {len(inputs.names):,} images")
        begin, began = file.done, time.perf_counter()
        with progress.Long(file.done, len(inputs.names), "image", say) as bar:
            for number, batch in enumerate(activations(net, inputs, layer, views, file.done)):
                for row, reason in batch.left_out.items():
                    complain(f"{inputs.names[row]} is left out: {reason}")
                bar.add(batch.end - file.done)
                file.add(batch.features, batch.end, batch.left_out)
                if number == 0:  # the network is compiled
                    begin, began = file.done, time.perf_counter()
        seconds = time.perf_counter() - began
        images = file.done - begin
        whole = file.finish(inputs.names, inputs.labels, inputs.class_names, about)
        left_out = {inputs.names[row]: reason for row, reason in file.left_out.items()}
    return Features(str(path), whole, left_out, images / seconds if images else None)
