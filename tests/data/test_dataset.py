"""The cache that belongs to the settings, and what is known without opening it."""

import pytest

from alexnet_jax import UserError
from alexnet_jax.data.dataset import cache_path, class_count, open_cache


@pytest.fixture
def data(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path)
    return tiny.data


@pytest.mark.parametrize(("key", "value"), [("validation", 0.2), ("image_size", 10), ("encoding", "jpeg")])
def test_other_settings_make_another_cache(data, key, value):
    first = open_cache(data, print)
    data[key] = value
    second = open_cache(data, print)
    assert first.directory != second.directory
    assert first.info.fingerprint != second.info.fingerprint


def test_a_relative_folder_depends_on_the_working_directory(data, tmp_path, monkeypatch):
    data.source = "folder:mine"
    paths = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        paths.add(cache_path(data))
    data.source = f"folder:{tmp_path}/b/mine/"
    assert len(paths | {cache_path(data)}) == 2


def test_classes_are_counted_with_and_without_a_cache(data):
    assert class_count(data) == 10
    path = open_cache(data, print).directory
    for images in path.glob("*.images"):
        images.unlink()
    assert class_count(data) == 10  # the images are not opened
    (path / "data.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        class_count(data)
