"""The registry of sources, and the splits that a data set lacks."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import alexnet_jax
from alexnet_jax import UserError
from alexnet_jax.data import sources
from alexnet_jax.data import tfds as tfds_source
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.data.source import Example, Source, Split
from alexnet_jax.data.sources import Kind, open_source
from tests.data.test_folder import everything, fill

*_others, _last = (kind.form for kind in sources.KINDS.values())
FORMS = f"{', '.join(_others)} or {_last}"


@pytest.mark.parametrize("name", ["tfds:", "folder:", "sklearn:iris", "sklearn:", "digits", ""])
def test_a_source_that_does_not_exist_is_refused(name, tmp_path):
    message = f"config.data.source is {name!r}, but must be {FORMS}"
    with pytest.raises(UserError, match=re.escape(message)):
        open_source(name, 0.0, 0.1)
    with pytest.raises(UserError, match=re.escape(message)):
        sources.download(name, tmp_path, print)
    assert not list(tmp_path.iterdir())
    assert not sources.may_change(name)
    assert sources.known_examples(name, 0.1) is None
    assert sources.identity(name) == sources.short_name(name) == name  # so naming a cache raises nothing


@pytest.mark.parametrize("name", ["tfds:cifar10", "folder:DIR", "ilsvrc2012:DIR", "sklearn:digits"])
def test_columns_are_refused_for_sources_that_do_not_use_them(name):
    kind = name.partition(":")[0]
    message = (
        f"config.data.columns is 'a,b', but {kind} has no columns .*, only parquet, webdataset, csv: remove"
    )
    with pytest.raises(UserError, match=message):
        open_source(name, 0.0, 0.1, "a,b")


def test_a_folder_is_the_same_from_any_directory(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("folder:mine", "folder:mine/", "folder:link", "folder:~/mine", f"folder:{tmp_path}/mine"):
        assert sources.identity(name) == f"folder:{tmp_path}/mine"
        assert sources.short_name(name) == "folder:mine"
    assert sources.identity("folder:~no-such-user/mine") == f"folder:{tmp_path}/~no-such-user/mine"


@pytest.mark.parametrize("name", ["tfds:cifar10:3.0.2", "tfds:imagenet_resized/64x64", "sklearn:digits"])
def test_other_sources_are_identified_by_their_names(name):
    assert sources.identity(name) == sources.short_name(name) == name


def test_a_folder_may_change_under_the_same_name():
    assert sources.may_change("folder:DIR")
    assert not sources.may_change("tfds:cifar10")
    assert not sources.may_change("sklearn:digits")


@pytest.mark.parametrize(
    ("name", "validation", "examples"),
    [
        ("tfds:imagenet2012", 0.1, 1_281_167),
        ("tfds:cifar10", None, 50_000),
        ("tfds:cifar10", 0.1, 45_000),
        ("tfds:cifar10", 2000.0, 48_000),
        ("tfds:mnist", 0.1, None),
        ("folder:mine", 0.1, None),
    ],
)
def test_sizes_of_data_sets_that_are_not_prepared(name, validation, examples):
    assert sources.known_examples(name, validation) == examples


def squares(name, options):
    """Return a source of 40 images of one colour each."""

    def read(i):
        return Example(str(i), i % 2, lambda: np.full((8, 8, 3), i, np.uint8))

    splits = {"train": Split(read, np.arange(30)), "test": Split(read, np.arange(30, 40))}
    return Source(f"squares:{name}", "1", ("even", "odd"), splits)


def test_a_new_kind_of_source_needs_only_an_entry(tiny, tmp_path, monkeypatch):
    calls = []

    def download(name, say):
        calls.append((name, [file.name for file in tmp_path.glob("*.lock")]))

    monkeypatch.setitem(sources.KINDS, "squares", Kind("squares:NAME", squares, download=download))
    tiny.data.source, tiny.data.cache_dir, tiny.data.validation = "squares:small", str(tmp_path), 0.0
    found = open_cache(tiny.data, print)
    assert found.info.splits == {"train": 30, "test": 10}
    assert [image[0, 0, 0] for image in found.images["test"][:]] == list(range(30, 40))
    assert found.directory.name.startswith("squares-small-")
    assert [name for name, _ in calls] == ["small"]
    assert "squares.lock" in calls[0][1]
    with pytest.raises(UserError, match="or squares:NAME"):
        open_source("circles:small", 0.0, 0.1)


def test_no_other_module_knows_the_prefixes():
    package = Path(alexnet_jax.__file__).parent
    modules = [value for value in vars(sources).values() if inspect.ismodule(value)]
    own = {Path(module.__file__) for module in (sources, *modules)}
    prefix = re.compile(rf"""["'f]({"|".join(sources.KINDS)}):""")
    named = {
        f"{path.relative_to(package)}: {line.strip()}"
        for path in package.rglob("*.py")
        if path not in own
        for line in path.read_text().splitlines()
        if prefix.search(line)
    }
    assert named == {'config/settings.py: "tfds:imagenet2012",'}  # the default of config.data.source


def test_a_tfds_data_set_that_has_only_a_training_split_is_split(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name, 50)
    everything_of = open_source(f"folder:{tmp_path}", 0.0, 0.1)
    monkeypatch.setattr(tfds_source, "open_tfds", lambda name: everything_of)
    splits, again = (open_source("tfds:fall2009", 0.1, 0.5).splits for _ in range(2))
    assert {name: len(split) for name, split in splits.items()} == {"train": 45, "validation": 5, "test": 50}
    assert len({example for split in splits.values() for example in everything(split)}) == 100
    assert all(everything(splits[name]) == everything(again[name]) for name in splits)


def test_more_validation_examples_than_the_data_has_are_refused():
    with pytest.raises(UserError, match="only 1437 training examples"):
        open_source("sklearn:digits", 1437.0, 0.1)
