"""Files that a pattern matches, and the split that the name of each tells."""

import errno
import os

import braceexpand
import pytest

from alexnet_jax import UserError
from alexnet_jax.data import split_files as split_files_module
from alexnet_jax.data.split_files import split_files


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def files(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return files


def found(pattern):
    return {
        split: [path.name for path in paths] for split, paths in split_files(str(pattern), ".tar").items()
    }


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.tar", "train"),
        ("data/train-00000-of-00002-abe47dea.tar", "train"),
        ("default/validation/0000.tar", "validation"),
        ("imagenet_VAL.tar", "validation"),
        ("test/train.tar", "train"),
        ("Training/shard0.tar", "train"),
        ("cats.testing.tar", "test"),
        ("trainer.tar", None),
    ],
)
def test_the_name_of_a_file_or_the_nearest_folder_tells_the_split(name, split, make):
    make(name)
    assert list(found(".")) == [split]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("data/a-{00..02}.tar", ["a-00.tar", "a-01.tar", "a-02.tar"]),
        ("data/a-{2,0}*.tar", ["a-2.tar", "a-00.tar", "a-01.tar", "a-02.tar"]),
        ("data/a-0?.tar", ["a-00.tar", "a-01.tar", "a-02.tar"]),
        ("**/[b]*.tar", ["b.tar"]),
        ("data", ["a-00.tar", "a-01.tar", "a-02.tar", "a-2.tar", "b.tar"]),
        ("data/a-2.tar", ["a-2.tar"]),
        ("{data/a,data/deep/b}*{*,}.tar", ["a-00.tar", "a-01.tar", "a-02.tar", "a-2.tar", "b.tar"]),
    ],
)
def test_patterns(pattern, names, make, tmp_path):
    make("data/a-00.tar", "data/a-01.tar", "data/a-02.tar", "data/a-2.tar", "data/deep/b.tar", "data/c.txt")
    make("data/.hidden.tar", "data/.cache/train.tar")
    assert found(pattern) == found(tmp_path / pattern) == {None: names}


def test_folders_above_the_pattern_tell_no_split(make, tmp_path):
    make("test/data/shard-0.tar", "test/data/shard-1.tar")
    for pattern in ("test/data", "test/data/*.tar", "test/data/shard-{0..1}.tar", "test/data/shard-0.tar"):
        assert list(found(tmp_path / pattern)) == [None]
    assert list(found(tmp_path / "*/data/*.tar")) == ["test"]


def test_a_pattern_may_be_longer_than_a_name(make):
    make("a-0.tar", "a-1.tar")
    assert found("{a-0,[" + "a" * 300 + "]-1}.tar") == {None: ["a-0.tar", "a-1.tar"]}


@pytest.mark.parametrize(
    "pattern",
    ["a", "{a,b}", "{a-{00..09},b-{z..x}{0..9..3}}{,c}", "{x}{1..3}", "{a,{b,{c,d}}e}", "{3..-3..-2}"],
)
def test_alternatives_are_counted_as_they_are_expanded(pattern):
    assert split_files_module._alternatives(pattern) == len(list(braceexpand.braceexpand(pattern)))


def test_a_name_with_brackets_that_exists_is_no_pattern(make):
    make("data [a]{b}/train.tar")
    assert found("data [a]{b}") == found("data [a]{b}/train.tar") == {"train": ["train.tar"]}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nothing", "nothing does not exist"),
        ("empty", "empty has no .tar files"),
        ("*.zip", "no file matches .*zip"),
        ("a-{0..3}.tar", "2 of the 4 names in .* do not exist: a-2.tar, a-3.tar"),
        ("{train,val}-*.tar", r"1 of the 2 names in .* do not exist: val-\*.tar"),
        ("a-{0..3.tar", "the braces of a-{0..3.tar do not match|no file matches"),
        ("{0..999999999}.tar", "have more than 1,000,000 alternatives: use"),
        ("{a,b{0..999}{0..999..1}{a..z}}.tar", "have more than 1,000,000 alternatives: use"),
        ("{0..9}" * 5000, "have more than 1,000,000 alternatives: use"),
        ("mixed", "the name of .*mixed/0.tar has no split, but those of other files do"),
        (
            "both",
            "the split of .*both/train-val.tar is ambiguous, because train-val.tar contains train and val",
        ),
    ],
)
def test_missing_files_and_ambiguous_splits_are_refused(pattern, message, make, tmp_path):
    make("train-0.tar", "a-0.tar", "a-1.tar", "mixed/0.tar", "mixed/train-0.tar", "both/train-val.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        found(pattern)


def test_words_that_may_be_splits_are_refused(make):
    make("a/trainset-0.tar", "a/testset-0.tar", "b/ValData/0.tar", "b/x/0.tar", "c/trainset.tar")
    make(
        "d/contest-0.tar",
        "d/medieval-0.tar",
        "e/trains-0.tar",
        "e/trains-1.tar",
        "trainset/0.tar",
        "trainset/1.tar",
    )
    for pattern, names in (("a", "testset-0.tar, trainset-0.tar"), ("b", "ValData/0.tar")):
        with pytest.raises(UserError, match=f"has {names}: if these names mean splits, rename the files"):
            found(pattern)
    for pattern in ("c", "d", "e", "trainset"):  # no other words; none; a folder above the pattern
        assert list(found(pattern)) == [None]


def test_links_to_folders_are_followed(make, tmp_path):
    make("data/0.tar", "elsewhere/1.tar")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    assert found("data") == {None: ["0.tar", "1.tar"]}
    for target in (".", "..", "../elsewhere"):
        link = tmp_path / "data" / "zlink"
        link.symlink_to(target)
        with pytest.raises(UserError, match=r"is the same folder as .*: remove one of them"):
            found("data")
        link.unlink()


def test_a_folder_that_cannot_be_read_is_refused(make, monkeypatch):
    make("data/train/0.tar", "data/val/0.tar")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("val"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="data/val can't be read: Permission denied"):
        found("data")
