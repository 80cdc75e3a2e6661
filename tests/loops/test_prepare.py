"""Preparation from Python: the cache that it returns, and what it reports."""

import alexnet_jax


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
