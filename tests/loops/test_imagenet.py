"""ImageNet 2012 from tiny archives: prepared by TFDS itself, which needs TensorFlow, and then trained."""

import dataclasses
import io
import tarfile
from importlib.util import find_spec

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax import restore
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.loops.train import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="TFDS needs TensorFlow to prepare a data set"),
]

# Synsets, and the colours of their images. TFDS converts two images of the last two, by their names.
COLORS = {"n01751748": (250, 0, 0), "n01739381": (0, 250, 0), "n02105855": (0, 0, 250)}
CMYK, PNG = "n01739381_1309.JPEG", "n02105855_2933.JPEG"


def image(name, color):
    file, pixels = io.BytesIO(), Image.new("RGB", (40, 30), color)
    if name == CMYK:
        pixels = pixels.convert("CMYK")
    pixels.save(file, "PNG" if name == PNG else "JPEG", quality=95)
    return file.getvalue()


def tar(contents):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """The archives of image-net.org with 7 training images of each of three synsets, and 8 for validation."""
    synsets = {}
    for synset, color in COLORS.items():
        names = [f"{synset}_{i}.JPEG" for i in range(7)]
        names[3] = next((name for name in (CMYK, PNG) if name.startswith(synset)), names[3])
        synsets[f"{synset}.tar"] = tar({name: image(name, color) for name in names})
    validation = [f"ILSVRC2012_val_{i:08}.JPEG" for i in range(1, 9)]
    manual = tmp_path / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "ILSVRC2012_img_train.tar").write_bytes(tar(synsets))
    grey = {name: image(name, (100, 100, 100)) for name in reversed(validation)}
    (manual / "ILSVRC2012_img_val.tar").write_bytes(tar(grey))
    monkeypatch.setenv("TFDS_DATA_DIR", f"{tmp_path / 'tfds'}")


def test_imagenet_is_prepared_by_tfds_and_trained(archives, tiny, tmp_path, capfd):
    tiny.data.source, tiny.data.cache_dir = "tfds:imagenet2012", f"{tmp_path / 'caches'}"
    tiny.data.image_size, tiny.data.crop_size, tiny.data.validation = 16, 13, None
    tiny.net.layers = (*tiny.net.layers[:-1], dataclasses.replace(tiny.net.layers[-1], classes=1000))
    tiny.batch_size, tiny.num_steps = 4, 5
    trained = train(tiny, tmp_path / "w")
    assert (trained.step, trained.result.split, trained.result.examples) == (5, "validation", 8)
    assert "TFDS is preparing imagenet2012" in capfd.readouterr().out

    net = restore(tmp_path / "w")
    assert len(net.data.class_names) == 1000
    cache = open_cache(net.config.data, print)
    assert cache.info.splits == {"train": 21, "validation": 8}
    names = np.array(cache.info.class_names)
    labels, images = names[cache.labels["train"]], cache.images["train"][:]
    assert sorted(labels) == sorted([*COLORS] * 7)
    for label, pixels in zip(labels, images, strict=True):
        np.testing.assert_allclose(pixels.mean(axis=(0, 1)), COLORS[label], atol=12)
    # The labels of the first validation images, in the order of their names.
    lines = tfds.core.tfds_path("datasets/imagenet2012/validation_labels.txt").read_text().splitlines()
    assert sorted(names[cache.labels["validation"]]) == sorted(lines[:8])
