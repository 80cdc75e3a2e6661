"""Parquet files of the ``datasets`` library and others, and what can be wrong with them."""

import os
import pickle

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alexnet_jax import UserError
from alexnet_jax.data import parquet
from alexnet_jax.data.images import BadImage
from alexnet_jax.data.sources import open_source
from tests import forms
from tests.data.test_folder import sizes


def opened(path, columns=None, validation=None):
    return open_source(f"parquet:{path}", validation, 0.1, columns)


def write(path, rows_in_a_group=None, **columns):
    """Write a file without metadata. By default it has ten images of two classes."""
    columns = {"image": [bytes([i]) for i in range(10)], "label": [0, 1] * 5} | columns
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), path, rows_in_a_group)
    return path


def contents(split):
    return [split[i].content() for i in range(len(split))]


def test_rows_keep_their_order_and_classes_that_of_the_metadata(tmp_path):
    photos = forms.photographs()
    forms.table(photos, tmp_path)
    source = pickle.loads(pickle.dumps(opened(tmp_path)))
    assert source.class_names == forms.IDS
    for split, expected in photos.items():
        examples = [source.splits[split][i] for i in range(len(source.splits[split]))]
        assert [(forms.IDS[e.label], e.content()) for e in examples] == [(a, c) for a, _, c in expected]
    assert source.splits["train"][13].name == f"{tmp_path}/train-00001-of-00002.parquet: row 1"


@pytest.mark.parametrize("rows_in_a_group", [1, 3, 100, 1000])
def test_rows_can_be_read_in_any_order(rows_in_a_group, tmp_path):
    images = [str(i).encode() for i in range(300)]
    write(tmp_path / "train.parquet", rows_in_a_group, image=images, label=[0, 1] * 150)
    split = opened(tmp_path, validation=0.0).splits["train"]
    for order in (
        np.arange(300),
        np.arange(300)[::-1],
        np.arange(0, 300, 37),
        np.random.default_rng(0).permutation(300),
    ):
        assert [split[int(i)].content() for i in order] == [images[i] for i in order]


def test_rows_in_order_are_decoded_once(tmp_path, monkeypatch):
    write(tmp_path / "train.parquet", 100, image=[b"x"] * 1000, label=[0, 1] * 500)
    starts, batches = [], parquet._batches
    monkeypatch.setattr(parquet, "_batches", lambda *args: starts.append(args[2]) or batches(*args))
    split = opened(tmp_path).splits["train"]  # nine of ten rows
    starts.clear()
    assert contents(split) == [b"x"] * 900
    assert starts == [0]


def test_labels_may_be_words_integers_or_a_dictionary(tmp_path):
    for labels, names in (
        (["cat", "dog"] * 5, ("cat", "dog")),
        (pa.array(["dog", "cat"] * 5).dictionary_encode(), ("cat", "dog")),
        (pa.array([7, 10] * 5, pa.uint16()), ("7", "10")),
    ):
        source = opened(write(tmp_path / "train.parquet", label=labels))
        assert source.class_names == names
        assert sorted({source.splits["train"][i].label for i in range(9)}) == [0, 1]


def test_without_names_of_splits_the_rows_are_split(tmp_path):
    source = opened(write(tmp_path / "cats.parquet", image=[b"x"] * 100, label=[0, 1] * 50))
    assert sizes(source) == {"train": 80, "validation": 10, "test": 10}


def test_rows_without_a_label_are_counted(tmp_path):
    write(tmp_path / "data" / "train-0.parquet", label=[0, 1, None, -1, *[0, 1] * 3])
    write(tmp_path / "data" / "test-0.parquet", label=[-1] * 10)  # as ImageNet's on the hub
    source = opened(tmp_path, validation=0.0)
    assert sizes(source) == {"train": 8}
    ((reason, names),) = source.left_out.items()
    assert reason == "images without a label, or with the label -1"
    assert names[:2] == [f"{tmp_path}/data/train-0.parquet: row 2", f"{tmp_path}/data/train-0.parquet: row 3"]
    assert len(names) == 12


def test_a_row_without_an_image_is_a_broken_image(tmp_path):
    split = opened(write(tmp_path / "train.parquet", image=[b"x", None] * 5), validation=0.0).splits["train"]
    assert split[0].content() == b"x"
    with pytest.raises(BadImage, match="the row has no image"):
        split[1].content()


def cifar100(root):
    fine, coarse = (datasets.ClassLabel(names=names) for names in (["ant", "bee"], ["insect", "other"]))
    features = datasets.Features({"img": datasets.Image(), "fine_label": fine, "coarse_label": coarse})
    rows = [({"bytes": b"x", "path": None}, i % 2, 0) for i in range(10)]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(features)}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(root / "train.parquet")


def test_columns_choose_among_several(tmp_path, capsys):
    cifar100(tmp_path)
    message = (
        "train.parquet has several candidates for the label, fine_label, coarse_label: name those of the"
        " image and the label with --config.data.columns=IMAGE,LABEL"
    )
    with pytest.raises(UserError, match=message):
        opened(tmp_path)
    assert opened(tmp_path, "img,fine_label").class_names == ("ant", "bee")
    with pytest.raises(
        UserError, match=r"no column of labels .*; its columns are img, fine_label, coarse_label"
    ):
        opened(tmp_path, "img,label")


def test_the_metadata_tells_labels_from_other_integers(tmp_path):
    features = {"image": datasets.Image(), "id": datasets.Value("int64"), "label": datasets.ClassLabel(2)}
    columns = {"image": [{"bytes": b"x", "path": None}] * 4, "id": [1, 2, 3, 4], "label": [0, 1, 0, 1]}
    datasets.Dataset.from_dict(columns, datasets.Features(features)).to_parquet(tmp_path / "train.parquet")
    assert opened(tmp_path).class_names == ("0", "1")


@pytest.mark.parametrize(
    "features",
    [
        "[1]",
        '{"label": 3}',
        '{"label": {"_type": "ClassLabel", "names": "ab"}}',
        '{"image": {"_type": [1]}}',
        "{",
    ],
)
def test_metadata_of_other_forms_is_ignored(features, tmp_path):
    file = write(tmp_path / "train.parquet")
    metadata = {b"huggingface": f'{{"info": {{"features": {features}}}}}'}
    pq.write_table(pq.read_table(file).replace_schema_metadata(metadata), file)
    assert opened(tmp_path).class_names == ("0", "1")


def test_several_data_sets_in_folders_are_refused(tmp_path):
    for name in ("full/train/0", "full/test/0", "small/train/0", "small/test/0"):
        write(tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match=r"has files in several folders, full, small, .*: name one of them"):
        opened(tmp_path)
    assert sizes(opened(tmp_path / "full", validation=0.0)) == {"train": 10, "test": 10}
    assert sizes(opened(tmp_path / "**" / "*.parquet", validation=0.0)) == {"train": 20, "test": 20}


def test_classes_with_the_same_name_are_refused(tmp_path):
    file = write(tmp_path / "train.parquet")
    label = '{"_type": "ClassLabel", "names": ["a", "a"]}'
    metadata = {b"huggingface": f'{{"info": {{"features": {{"label": {label}}}}}}}'}
    pq.write_table(pq.read_table(file).replace_schema_metadata(metadata), file)
    with pytest.raises(UserError, match="several classes with the same name, a: write it with other names"):
        opened(tmp_path)


def test_a_file_with_fewer_rows_than_it_declares_is_refused(tmp_path, monkeypatch):
    file = write(tmp_path / "train.parquet")
    split = opened(file).splits["train"]
    parquet._reader.cache_clear()
    monkeypatch.setattr(parquet, "_batches", lambda *args: iter([]))
    message = "train.parquet can't be read: it has fewer rows than it declares: copy it again"
    with pytest.raises(UserError, match=message):
        contents(split)
    with pytest.raises(UserError, match=message):
        opened(file)


def large_label(root):
    forms.table(forms.photographs(), root)
    for file in root.glob("*.parquet"):
        table = pq.read_table(file)
        label = pa.array([2**64 - 1] * len(table), pa.uint64())
        pq.write_table(table.set_column(1, "label", label), file)


def bad_footer(root):
    file = write(root / "train.parquet")
    file.write_bytes(file.read_bytes().replace(b"label", b"l\xffbel"))


def only_paths(root):
    image = pa.array(
        [{"bytes": None, "path": "a.jpg"}] * 10, pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    write(root / "train.parquet", image=image)


def out_of_range(root):
    forms.table(forms.photographs(), root)
    table = pq.read_table(root / "train-00000-of-00002.parquet")
    label = pa.array([1000] * len(table), pa.int64())
    pq.write_table(table.set_column(1, "label", label), root / "train-00000-of-00002.parquet")


def other_columns(root):
    write(root / "train.parquet")
    write(root / "test.parquet", label=["a", "b"] * 5)
    write(root / "val.parquet", label=None, species=["a", "b"] * 5)


def pipe(root):
    os.mkfifo(root / "train.parquet")


def cut(root):
    file = write(root / "train.parquet")
    file.write_bytes(file.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "has no .parquet files"),
        (lambda root: write(root / "train.parquet", image=None), "no column of images .*columns are label"),
        (lambda root: write(root / "train.parquet", label=None), "has no column of labels"),
        (lambda root: write(root / "train.parquet", label=[0.5] * 10), "has no column of labels"),
        (lambda root: write(root / "train.parquet", thumb=[b"x"] * 10), "for the image, image, thumb"),
        (lambda root: write(root / "train.parquet", image=[], label=pa.array([], "i8")), "no .* images"),
        (lambda root: write(root / "train.parquet", label=[0] * 10), "has only one class, 0"),
        (lambda root: write(root / "train.parquet", label=[-2, 0] * 5), "has the label -2"),
        (lambda root: write(root / "train.parquet", label=[-1] * 10), "no labelled .*10 left out"),
        (lambda root: write(root / "test.parquet"), "no labelled images for training, only for test"),
        (lambda root: (root / "train.parquet").write_bytes(b""), "train.parquet can't be read: .*0 bytes"),
        (pipe, "train.parquet is not a file"),
        (cut, "train.parquet can't be read: .*: copy it again"),
        (only_paths, "has no images in the column image, perhaps only their paths"),
        (out_of_range, "has the label 1000, but labels must be from 0 to 3"),
        (large_label, f"has the label {2**64 - 1}, but labels must be from 0 to 3"),
        (bad_footer, "train.parquet can't be read: .*: copy it again"),
        (other_columns, "has other columns or classes than"),
    ],
)  # fmt: skip
def test_unsuitable_files_are_refused_in_one_line(make, message, tmp_path):
    make(tmp_path)
    with pytest.raises(UserError, match=message) as refused:
        opened(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_damaged_inside_is_refused_when_it_is_read(tmp_path):
    file = write(tmp_path / "train.parquet", image=[bytes(1000)] * 10)
    split = opened(file).splits["train"]
    parquet._reader.cache_clear()
    file.write_bytes(b"\xff" * 200 + file.read_bytes()[200:])
    with pytest.raises(UserError, match=r"train.parquet can't be read"):
        contents(split)
