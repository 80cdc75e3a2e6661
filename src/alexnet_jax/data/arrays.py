"""Read and write NumPy arrays whose type and shape are known."""

import io
import math
import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from alexnet_jax.files import checked

_HEADER = 4096  # more bytes than the header of an array has


def content_of(array: np.ndarray) -> bytes:
    """Return the content of the ``.npy`` file of an array."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def read_array(
    path: os.PathLike[str], dtype: Any, shape: tuple[int, ...], checksums: Mapping[str, int]
) -> np.ndarray:
    """Read the array of a ``.npy`` file. The array is read-only.

    Args:
      path: path of the file.
      dtype: the type that it must have.
      shape: the shape that it must have, which limits the memory before anything is read.
      checksums: CRC-32 of each file, by name.

    Raises:
      ValueError: it is another array, its checksum differs, or an element is not finite. The message names
        the file.
      OSError: the file can't be read.
    """
    dtype, name = np.dtype(dtype), PurePath(path).name
    size = math.prod(shape) * dtype.itemsize
    file = io.BytesIO(content := checked(path, size + _HEADER, checksums))
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("it has another format")
        found = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # NumPy raises many kinds
        raise ValueError(f"{name} has no valid header") from error
    if found != (shape, False, dtype):
        raise ValueError(f"{name} holds {found[2]} of shape {found[0]}, not {dtype} of shape {shape}")
    if len(content) != file.tell() + size:
        raise ValueError(f"{name} has {len(content):,} bytes, not {file.tell() + size:,}")
    array = np.frombuffer(content, dtype, offset=file.tell()).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has an element that is not finite")
    return array
