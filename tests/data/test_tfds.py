"""Data sets of TFDS in both formats. An incomplete one is refused in one line."""

import dataclasses
import errno
import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from alexnet_jax import UserError
from alexnet_jax.data import tfds as tfds_source
from alexnet_jax.data.sources import open_source
from tests import forms


def test_cifar10_from_tfds_is_complete(cifar10_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", cifar10_dir)
    source = open_source("tfds:cifar10", 5000.0, 0.1)
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 45_000,
        "validation": 5000,
        "test": 10_000,
    }
    assert source.class_names[:2] == ("airplane", "automobile")
    example = source.splits["test"][3]
    assert example.content().startswith(b"\x89PNG")
    assert 0 <= example.label < 10


def record(content):
    return struct.pack("<QI", len(content), 0) + content + b"\0\0\0\0"


@pytest.fixture
def tfrecords(cifar10_dir, tmp_path):
    """A folder of TFRecords, TFDS's default format, that repeat the first 50 images of CIFAR-10."""
    there = Path(cifar10_dir) / "cifar10" / "3.0.2"
    source = tfds.builder_from_directory(there).as_data_source(split="test").data_source
    here = tmp_path / "cifar10" / "3.0.2"
    here.mkdir(parents=True)
    for file in there.glob("*.*"):
        if file.suffix in (".json", ".txt"):
            text = file.read_text().replace("array_record", "tfrecord")
            (here / file.name).write_text(text)
    builder = tfds.builder_from_directory(here)
    for split in ("train", "test"):
        lengths = [int(n) for n in builder.info.splits[split].shard_lengths]
        for path, length in zip(builder.info.splits[split].filepaths, lengths, strict=True):
            fifty = [record(source[i]) for i in range(50)]
            Path(path).write_bytes(b"".join(fifty) * (length // 50))
    return tmp_path


def test_tfrecords_are_read_without_tensorflow(tfrecords, cifar10_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", cifar10_dir)
    expected = open_source("tfds:cifar10", 0.0, 0.1).splits["test"]
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfrecords))
    found = open_source("tfds:cifar10", 0.0, 0.1).splits["test"]
    assert len(found) == 10_000
    for i in (0, 7, 49):
        assert (found[i].label, found[i].content()) == (expected[i].label, expected[i].content())


def test_truncated_tfrecords_are_refused(tfrecords, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfrecords))
    path = next(tfrecords.rglob("*-test.tfrecord*"))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="is truncated"):
        open_source("tfds:cifar10", 0.0, 0.1)


def test_an_incomplete_preparation_by_tfds_is_not_used(cifar10_dir, tmp_path, monkeypatch):
    shutil.copytree(Path(cifar10_dir) / "cifar10" / "3.0.2", tmp_path / "cifar10" / "3.0.2.incompleteAB12")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="has not prepared cifar10"):
        open_source("tfds:cifar10", 0.0, 0.1)


def test_a_version_in_the_name(cifar10_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", cifar10_dir)
    assert open_source("tfds:cifar10:3.0.2", 0.0, 0.1).version == "3.0.2"
    with pytest.raises(UserError, match=r"has not prepared cifar10:9.9.9"):
        open_source("tfds:cifar10:9.9.9", 0.0, 0.1)


@pytest.fixture
def copied(cifar10_dir, tmp_path, monkeypatch):
    """A copy of CIFAR-10."""
    there = tmp_path / "cifar10" / "3.0.2"
    shutil.copytree(Path(cifar10_dir) / "cifar10" / "3.0.2", there, copy_function=shutil.copy)
    for path in (there, *there.iterdir()):
        path.chmod(0o755)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    tfds_source._open.cache_clear()
    return there


@pytest.mark.parametrize(
    ("pattern", "size", "message"),
    [
        ("dataset_info.json", None, "3.0.2 has no dataset_info.json"),
        ("features.json", None, "features.json can't be read (No such file or directory)"),
        ("dataset_info.json", 500, "dataset_info.json is damaged"),
        ("features.json", 0, "features.json is damaged"),
        ("*-train.*", None, "3.0.2: 1 of the 1 files of train are missing (cifar10-train.array_record-"),
        ("*-test.*", 2**23, "3.0.2: 1 of the 1 files of test are damaged (cifar10-test.array_record-"),
        ("*-test.*", 0, "3.0.2: 1 of the 1 files of test are damaged (cifar10-test.array_record-"),
    ],
)
def test_a_half_copied_data_set_is_refused_in_one_line(pattern, size, message, copied, tmp_path):
    (file,) = copied.glob(pattern)
    if size is None:
        file.unlink()
    else:
        os.truncate(file, size)
    with pytest.raises(UserError) as refused:
        open_source("tfds:cifar10", 0.0, 0.1)
    assert str(refused.value).startswith(f"{copied.parent}/3.0.2")
    assert message in str(refused.value)
    assert str(refused.value).endswith("copy the data set again, or remove it and run alexnet-jax prepare")
    assert "\n" not in str(refused.value)


def test_a_description_that_tfds_cannot_read_is_refused(copied):
    (copied / "features.json").write_text("{}")
    with pytest.raises(UserError, match=r"TFDS can't read .*: copy the data set again") as refused:
        open_source("tfds:cifar10", 0.0, 0.1)
    assert "\n" not in str(refused.value)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small data set of photographs, as TFRecords."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    tfds_source._open.cache_clear()
    forms.prepared(forms.photographs(), tmp_path, "tfrecord")
    return tmp_path / "photographs" / "1.0.0"


def test_names_of_files_that_tfds_cannot_format_are_refused(small):
    described = (small / "dataset_info.json").read_text().replace("{FILEFORMAT}", "{FORMAT}")
    (small / "dataset_info.json").write_text(described)
    with pytest.raises(UserError, match=r"^TFDS can't read .*: copy the data set again"):
        open_source("tfds:photographs", 0.0, 0.1)


def test_a_record_without_a_label_is_refused(small):
    (file,) = small.glob("*-train.*")
    file.write_bytes(file.read_bytes().replace(b"label", b"lebal"))
    with pytest.raises(UserError, match=r"example 0 of train can't be read .*: copy the data set again"):
        open_source("tfds:photographs", 0.0, 0.1)


def test_a_lack_of_file_descriptors_is_not_damage(small, monkeypatch):
    def fail(*args):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(tfds_source, "_open", fail)
    with pytest.raises(OSError, match="Too many open files"):
        open_source("tfds:photographs", 0.0, 0.1)


def test_splits_without_examples(copied):
    description = json.loads((copied / "dataset_info.json").read_text())
    for name in ("test", "train"):
        for split in description["splits"]:
            if split["name"] == name:
                split["shardLengths"] = []
        (copied / "dataset_info.json").write_text(json.dumps(description))
        if name == "test":
            assert "have no labels: test (0 images)" in "\n".join(tfds_source.open_tfds("cifar10").report())
    with pytest.raises(UserError, match=r"3.0.2 lists no images of train: copy the data set again"):
        tfds_source.open_tfds("cifar10")


def test_a_damaged_example_is_refused(copied):
    (file,) = copied.glob("*-test.*")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2**17] = bytes(2**17)
    file.write_bytes(content)
    test = open_source("tfds:cifar10", 0.0, 0.1).splits["test"]
    with pytest.raises(UserError, match=r"3.0.2: example \d+ of test can't be read .*: copy") as refused:
        list(map(test.__getitem__, range(len(test))))
    assert "\n" not in str(refused.value)


def test_missing_names_of_classes_and_unlabelled_splits_are_reported(copied, monkeypatch):
    (copied / "label.labels.txt").unlink()
    read = tfds_source._Examples.__call__

    def unlabelled(self, i):
        return dataclasses.replace(read(self, i), label=-1) if self.split == "test" else read(self, i)

    monkeypatch.setattr(tfds_source._Examples, "__call__", unlabelled)
    source = tfds_source.open_tfds("cifar10")
    assert source.class_names[:2] == ("0", "1")
    report = "\n".join(source.report())
    assert f"the classes have numbers for names, because there is no {copied}/label.labels.txt" in report
    assert "have no labels: test (10,000 images)" in report


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tfds:cifar11", "no data set cifar11 .did you mean cifar10"),
        (
            "tfds:mnist",
            r"has not prepared mnist in .* pip install -e '.\[tensorflow\]', and then run the same",
        ),
        (
            "tfds:imagenet2012",
            "put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar .* into .*downloads/manual,"
            " pip install .*, and then run the same command again",
        ),
    ],
)
def test_a_data_set_that_is_not_prepared_is_refused(name, message, monkeypatch, tmp_path):
    monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=message):
        open_source(name, 0.0, 0.1)
    assert not list(tmp_path.iterdir())


def test_tfds_is_not_called_while_something_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    calls = []
    monkeypatch.setattr(tfds_source.subprocess, "run", lambda *args, **_: calls.append(args))
    for name in ("imagenet2012", "cifar11"):
        with pytest.raises(UserError):
            tfds_source.download(name, print)
    assert not calls
    assert not list(tmp_path.iterdir())


def test_archives_that_exist_are_not_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "downloads" / "manual").mkdir(parents=True)
    (tmp_path / "downloads" / "manual" / "ILSVRC2012_img_train.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"put ILSVRC2012_img_val.tar \(from"):
        open_source("tfds:imagenet2012", 0.0, 0.1)
    (tmp_path / "downloads" / "manual" / "ILSVRC2012_img_val.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"or pip install"):
        open_source("tfds:imagenet2012", 0.0, 0.1)
