"""Preparation from Python: the cache that it returns, and what it reports."""

import numpy as np
import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax.cli.main import main
from tests.conftest import ODD_NAMES, RECIPES


def test_prepare_returns_the_cache_and_verifies_it(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path)
    lines = []
    cache = alexnet_jax.prepare(tiny, say=lines.append)
    assert lines[0] == "reading the list of images of sklearn:digits"
    assert cache.images["train"][:3].shape == (3, 8, 8, 3)
    assert len(cache.labels["test"]) == 360
    again = alexnet_jax.prepare(tiny, say=lines.append)
    assert again.info.fingerprint == cache.info.fingerprint
    assert lines[-2:] == [
        f"verifying every byte of {cache.directory}",
        "nothing to prepare: the cache exists, and every checksum is right",
    ]


@pytest.mark.parametrize("name", [*ODD_NAMES, "long" * 50])
def test_paths_may_have_any_characters(name, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for class_name in (name, "cat"):
        (tmp_path / name / "train" / class_name).mkdir(parents=True)
        for i in range(20):
            pixels = np.full((8, 8, 3), i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / "train" / class_name / f"{i}.png")
    command = [
        "prepare",
        f"--config={RECIPES / 'tiny.py'}",
        f"--config.data.source=folder:{name}",
        f"--config.data.cache_dir={name}/cache",
    ]
    assert main(command) == 0
    assert main(command) == 0
    out = capfd.readouterr().out
    assert "train 36, validation 4 images of 8x8, raw, 2 classes" in out
    assert "nothing to prepare: the cache exists, and every checksum is right" in out
