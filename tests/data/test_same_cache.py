"""The same photographs give the same cache, in whatever form they come."""

import itertools
import json

import numpy as np
import pytest

from alexnet_jax.data.dataset import open_cache
from tests import forms


def content(data, source):
    """Return everything in the cache of a source that does not name the source."""
    data.source = source
    cache = open_cache(data, print)
    manifest = json.loads((cache.directory / "manifest.json").read_text())
    del manifest["data.json"]
    info = cache.info
    return (
        manifest,
        info.fingerprint,
        info.class_names,
        info.class_words,
        info.splits,
        info.color_covariance.tolist(),
    )


def same_caches(data, photos, tmp_path):
    expected, *others = (content(data, make(photos, tmp_path / make.__name__)) for make in forms.ALL)
    assert len(others) == 4
    for found in others:
        assert found == expected
    return expected


@pytest.mark.parametrize("validation", [2, 0])
def test_every_form_of_the_same_photographs_gives_the_same_cache(tiny, tmp_path, validation):
    tiny.data.cache_dir, tiny.data.image_size, tiny.data.validation = str(tmp_path), 32, None
    photos = forms.photographs(train=10, validation=validation)
    if not validation:
        del photos["validation"]
    manifest, _, names, words, splits, _ = same_caches(tiny.data, photos, tmp_path)
    assert splits == ({"train": 40, "validation": 8} if validation else {"train": 36, "validation": 4})
    assert names == forms.IDS
    assert words[0] == "tench, Tinca tinca"
    assert {"train.labels.npy", "train-00000.images", "mean_image.npy"} < set(manifest)


def test_real_photographs_give_the_same_cache_in_every_form(tiny, tmp_path, originals):
    tiny.data.cache_dir, tiny.data.image_size, tiny.data.encoding = str(tmp_path), 128, "jpeg"
    contents = (path.read_bytes() for path in itertools.cycle(originals))
    photos = forms.photographs(train=40, validation=10, contents=contents)
    *_, splits, covariance = same_caches(tiny.data, photos, tmp_path)
    assert splits == {"train": 160, "validation": 40}
    assert 1000 < np.array(covariance).trace() / 3 < 10000  # photographs, and not noise
