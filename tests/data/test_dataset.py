"""The cache that belongs to the settings, and what is known without opening it."""

import dataclasses

import pytest

from alexnet_jax import UserError
from alexnet_jax.data.dataset import NoImages, cache_path, class_count, open_cache, open_cache_of


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
    (path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        class_count(data)


@pytest.fixture
def default(tmp_path, monkeypatch):
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "alexnet-jax"


def test_the_data_of_a_workdir_is_found_in_the_default_folder(data, default):
    data.cache_dir = None
    info = open_cache(data, print).info
    data.cache_dir = "/a/strangers/folder"
    cache = open_cache_of(data, info, {}, print)
    assert (cache.directory.parent, cache.info.fingerprint) == (default, info.fingerprint)


def test_a_place_that_only_the_workdir_names_is_neither_read_nor_written(
    data, default, five_classes, tmp_path
):
    data.cache_dir, data.source, data.validation = str(tmp_path / "theirs"), five_classes, 0.0
    info = open_cache(data, print).info
    source = f"--config.data.source={five_classes}"
    with pytest.raises(NoImages) as refusal:
        open_cache_of(data, info, {}, print)
    assert f"add --config.data.cache_dir={tmp_path}/theirs or {source}" in str(refusal.value)
    assert not default.exists()
    # The folder that the user gives has no cache, and the source is the workdir's.
    with pytest.raises(
        NoImages, match=rf"{five_classes} is not prepared in {tmp_path}/mine: .* add {source}"
    ):
        open_cache_of(data, info, {"cache_dir": str(tmp_path / "mine")}, print)
    assert not (tmp_path / "mine").exists()
    for given in ({"cache_dir": data.cache_dir}, {"source": five_classes}, data):
        assert open_cache_of(data, info, given, print).info.fingerprint == info.fingerprint
    assert default.exists()
    # Now it is in the default folder.
    assert open_cache_of(data, info, {}, print).directory.parent == default


def test_other_images_in_the_default_folder_are_not_taken(data, default):
    data.cache_dir = None
    info = open_cache(data, print).info
    other = dataclasses.replace(info, fingerprint="other")
    with pytest.raises(
        NoImages, match=r"does not hold the images that the network was trained on: .*source=skl"
    ):
        open_cache_of(data, other, {}, print)
    assert open_cache_of(data, other, {"source": data.source}, print).info.fingerprint == info.fingerprint
    assert open_cache_of(data, other, {"cache_dir": str(default)}, print).directory.parent == default
