"""The source ``sklearn:digits``: 1,797 grey images of 8x8 pixels that scikit-learn ships."""

import functools

import numpy as np

from alexnet_jax.data.source import Example, Source, Split


def open_digits() -> Source:
    """Open scikit-learn's digits. The test split is a stratified fifth that never changes."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    grey = np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    rgb = np.repeat(grey, 3, axis=-1)
    train, test_rows = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0
    )
    read = functools.partial(_read, rgb, labels)
    class_names = tuple(str(digit) for digit in range(10))
    splits = {"train": Split(read, train), "test": Split(read, test_rows)}
    return Source("sklearn:digits", "1.0.0", class_names, splits)


def _read(images_NxHxWx3: np.ndarray, labels_N: np.ndarray, i: int) -> Example:
    return Example(str(i), int(labels_N[i]), lambda: images_NxHxWx3[i])
