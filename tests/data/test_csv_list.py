"""Lists of images, and what can be wrong with them."""

import os
import pickle
from pathlib import Path

import pytest

from alexnet_jax import UserError
from alexnet_jax.data.sources import identity, may_change, open_source, short_name
from tests import forms
from tests.data.test_folder import sizes


@pytest.fixture
def write(tmp_path):
    """Write a list beside four images."""
    (tmp_path / "images").mkdir()
    for name in "abcd":
        (tmp_path / "images" / f"{name}.jpg").write_bytes(name.encode())

    def as_file(text, encoding="utf-8"):
        (tmp_path / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return tmp_path / "list.csv"

    return as_file


FOUR = "path,label\nimages/a.jpg,cat\nimages/b.jpg,dog\nimages/c.jpg,cat\nimages/d.jpg,dog\n"


def in_splits(*splits):
    return "".join(f"{a},{b}\n" for a, b in zip(FOUR.splitlines(), ("split", *splits), strict=True))


def opened(path, columns=None, validation=0.0):
    return open_source(f"csv:{path}", validation, 0.1, columns)


def everything(source):
    """Return the class and the content of each image, by split."""
    return {
        name: "".join(
            f"{source.class_names[split[i].label]}:{split[i].content().decode()} " for i in range(len(split))
        )
        for name, split in source.splits.items()
    }


def test_images_are_in_the_order_of_classes_and_paths(tmp_path):
    photos = forms.photographs()
    forms.listed(photos, tmp_path)
    source = pickle.loads(pickle.dumps(opened(tmp_path / "list.csv")))
    for split, expected in photos.items():
        examples = [source.splits[split][i] for i in range(len(source.splits[split]))]
        assert [(forms.IDS[e.label], Path(e.name).name, e.content()) for e in examples] == expected
    assert source.report() == [
        "train 24, validation 8 images of 4 classes (n01440764, n02102040, n02979186, ...)"
    ]


@pytest.mark.parametrize(
    "text",
    [
        FOUR,
        "\ufeff" + FOUR,
        FOUR.replace("\n", "\r\n"),
        FOUR.replace("path,label", ' Filename , "Class"'),
        FOUR.replace("images/b.jpg", "./images/../images/b.jpg") + "\n,\n",
        "label,width,path\ncat,4,images/a.jpg\ncat,4,images/c.jpg\ndog,4,images/b.jpg\ndog,4,images/d.jpg",
    ],
)
def test_a_list_may_be_written_in_many_ways(text, write):
    assert everything(opened(write(text))) == {"train": "cat:a cat:c dog:b dog:d "}


def test_absolute_paths_and_links_to_the_folder_name_the_same_images(write, tmp_path):
    expected = opened(write(FOUR)).version
    assert opened(write(FOUR.replace("images", f"{tmp_path}/images"))).version == expected
    (tmp_path / "link").symlink_to(tmp_path / "images")
    source = opened(write(FOUR.replace("images/a", "link/a")))
    assert source.version == expected
    assert source.notes == ()


def test_a_list_below_a_link_to_a_folder(write, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    expected = opened(write(FOUR))
    (elsewhere / "link").symlink_to(write(FOUR).parent)
    source = opened(elsewhere / "link" / "list.csv")
    assert everything(source) == everything(expected)
    assert source.version == expected.version
    assert source.notes == ()


def test_splits_are_those_of_the_list(write):
    source = opened(write(in_splits("train", "Training", "VAL", "test")))
    assert everything(source) == {"train": "cat:a dog:b ", "validation": "cat:c ", "test": "dog:d "}


def test_a_list_without_splits_is_split(tmp_path):
    rows = ["path,label"]
    for i in range(100):
        (tmp_path / f"{i}.jpg").touch()
        rows.append(f"{i}.jpg,{i % 2}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    source = opened(tmp_path / "list.csv", validation=None)
    assert sizes(source) == {"train": 80, "validation": 10, "test": 10}
    assert source.class_names == ("0", "1")


def test_names_of_other_columns_are_given(write):
    path = write(FOUR.replace("path,label", "id,breed"))
    with pytest.raises(
        UserError, match=r"has no column path, only id, breed: .* --config.data.columns=PATH,LABEL"
    ):
        opened(path)
    assert everything(opened(path, "id, breed")) == {"train": "cat:a cat:c dog:b dog:d "}
    with pytest.raises(UserError, match="has no column species, only id, breed"):
        opened(path, "id,species")


def test_paths_and_links_that_leave_the_folder_are_named(write, tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "e.jpg"
    outside.write_bytes(b"e")
    (tmp_path / "images" / "f.jpg").symlink_to(outside)
    source = opened(write(f"{FOUR}{outside},cat\nimages/f.jpg,dog\n"))
    assert everything(source) == {"train": "cat:e cat:a cat:c dog:b dog:d dog:e "}
    where = os.path.relpath(outside, tmp_path)
    assert source.notes == (f"2 images lie outside {tmp_path} and are read: {where}, images/f.jpg",)


def test_rows_without_a_label_or_a_path_and_repeated_rows_are_counted(write):
    more = "images/a.jpg,cat\n./images/a.jpg,cat\n,dog\nimages/d.jpg,\n"
    source = opened(write(FOUR.replace("images/d.jpg,dog\n", more)))
    assert everything(source) == {"train": "cat:a cat:c dog:b "}
    assert {reason: list(names) for reason, names in source.left_out.items()} == {
        "rows that repeat an image": ["images/a.jpg", "./images/a.jpg"],
        "rows without a path": ["dog"],
        "images without a label, or with the label -1": ["images/d.jpg"],
    }


def test_composed_and_decomposed_labels_are_the_same_class(write):
    source = opened(
        write(FOUR.replace("a.jpg,cat", "a.jpg,caf\u00e9").replace("c.jpg,cat", "c.jpg,cafe\u0301"))
    )
    assert source.class_names == ("caf\u00e9", "dog")


def test_a_name_with_a_newline(write, tmp_path):
    (tmp_path / "two\nlines.jpg").write_bytes(b"e")
    source = opened(write(f'{FOUR}"two\nlines.jpg",cat\n'))
    assert everything(source)["train"].startswith("cat:a cat:c cat:e ")


def test_the_version_changes_with_the_labels_and_the_files(write, tmp_path):
    version = opened(write(FOUR)).version
    assert opened(write(FOUR.replace("c.jpg,cat", "c.jpg,dog"))).version != version
    (tmp_path / "images" / "a.jpg").write_bytes(b"longer")
    assert opened(write(FOUR)).version != version


def test_a_list_is_known_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert identity("csv:lists/a.csv") == f"csv:{tmp_path}/lists/a.csv"
    assert short_name("csv:lists/a.csv") == "csv:a.csv"
    assert may_change("csv:lists/a.csv")


def with_column(name, *values):
    return "".join(f"{a},{b}\n" for a, b in zip(FOUR.splitlines(), (name, *values), strict=True))


def test_columns_that_are_not_used_are_named(write):
    assert opened(write(with_column("width", *"1234"))).notes == ("columns that are not used: width",)
    assert opened(write(with_column("", *"1234"))).notes == ("columns that are not used: column 3",)
    source = opened(write(with_column("split,set", *["train,test"] * 2, *["val,test"] * 2)))
    assert source.notes == ("columns that are not used: set",)


def missing(count):
    return "path,label\n" + "".join(f"gone/{i}.jpg,cat\n" for i in range(count))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line of .*list.csv has no column path, only nothing"),
        ("path,label\n", "has no labelled images for training"),
        (FOUR.replace("dog", "cat"), "has only one class, cat"),
        (FOUR.replace(",", ";"), "has no column path, only path;label: write .* separated by commas"),
        (FOUR.partition("\n")[2], "has no column path, only images/a.jpg, cat"),
        (FOUR.replace("path,label", "label,label"), "has no column path"),
        (FOUR.replace("path,label", "image,path"), "has several candidates for the path, image, path"),
        (FOUR.replace("path,label", "path,label,n"), "line 2 of .* has 2 values, but the first line has 3"),
        (FOUR + "images/a,1.jpg,cat\n", "line 6 .* has 3 values, .* 2: write a value with a comma in double"),
        (FOUR + '"images/a.jpg,cat\n', "line 6 of .* can't be read: unexpected end of data"),
        (FOUR + "images/a.jpg,dog\n", "lists images/a.jpg twice, as cat and dog: remove one of the rows"),
        (FOUR.encode("utf-16"), "list.csv is not text in UTF-8: save it as CSV in UTF-8"),
        (FOUR.encode("utf-16-le"), "list.csv is not text in UTF-8: save it as CSV in UTF-8"),
        (FOUR.replace("cat", "chaton égaré").encode("latin-1"), "list.csv is not text in UTF-8"),
        (missing(2), "2 of the 2 images .* do not exist or can't be read: gone/0.jpg, gone/1.jpg. Paths are"),
        (FOUR + missing(50)[11:], r"50 of the 54 .*: gone/0.jpg, gone/1.jpg, gone/2.jpg, \.\.\.\. Paths are"),
        (in_splits("train", "train", "", "train"), "line 4 of .* has the split '', but it must be train"),
        (in_splits(*["fold1"] * 4), "line 2 of .* has the split 'fold1', but it must be train"),
        (with_column("set", "train", "train", "Test", "val"), "no column split, but the values of set are"),
        (with_column("label", *"1234"), "the first line of .* has the column label twice: remove or rename"),
        (with_column("split,Split", *["train,test"] * 4), "has the column split twice"),
        (in_splits(*["val"] * 4), "no labelled images for training, only for validation"),
        (in_splits("train", "test", "train", "test"), "images of the class dog in test, but none in train"),
    ],
)  # fmt: skip
def test_unsuitable_lists_are_refused_in_one_line(text, message, write):
    with pytest.raises(UserError, match=message) as refused:
        opened(write(text))
    assert "\n" not in str(refused.value)


def test_a_list_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "list.csv"):
        with pytest.raises(UserError, match="is not a file: set csv:FILE to a list of images"):
            opened(path)
