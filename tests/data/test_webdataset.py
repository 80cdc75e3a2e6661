"""Shards of the ``webdataset`` library and others, and what can be wrong with them."""

import io
import json
import pickle
import tarfile

import pytest

from alexnet_jax import UserError
from alexnet_jax.data.sources import identity, open_source
from tests import forms
from tests.data.test_folder import sizes


def opened(pattern, columns=None, validation=0.0):
    return open_source(f"webdataset:{pattern}", validation, 0.1, columns)


def write(path, members=None, **more):
    """Write a shard. By default it has four images of two classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    members = members or [
        (f"{i}.{end}", each) for i in range(4) for end, each in (("jpg", b"x"), ("cls", b"%d" % (i % 2)))
    ]
    path.write_bytes(forms.tar(members + list(more.items())))
    return path


@pytest.mark.parametrize("label", ["cls", "json"])
def test_samples_keep_the_order_of_the_shards(label, tmp_path):
    photos = forms.photographs()
    forms.shards(photos, tmp_path, label)
    source = pickle.loads(pickle.dumps(opened(tmp_path / "*-{000000..000001}.tar")))
    assert source.class_names == forms.IDS
    for split, expected in photos.items():
        examples = [source.splits[split][i] for i in range(len(source.splits[split]))]
        found = [(forms.IDS[e.label], e.name.rpartition(" ")[2], e.content()) for e in examples]
        assert found == [(wnid, name.replace("JPEG", "jpg"), each) for wnid, name, each in expected]
    assert source.left_out == {}


def test_integers_are_sorted_as_numbers_and_words_as_words(tmp_path):
    def named(*labels):
        members = [
            (f"{i}.{end}", each) for i, x in enumerate(labels) for end, each in (("png", b"x"), ("cls", x))
        ]
        return opened(write(tmp_path / "train.tar", members)).class_names

    assert named(b"10", b"9\n", b"2") == ("2", "9", "10")
    assert named(b"10", b"9", b"cat") == ("10", "9", "cat")
    with pytest.raises(UserError, match="has several spellings of the label 1"):
        named(b"01", b"1", b"2")


def test_samples_without_an_image_or_a_label_and_odd_members_are_counted(tmp_path):
    odd = [
        ("a.jpg", b"x"), ("b.cls", b"1"), ("c.jpg", b"x"), ("c.cls", b"-1"), ("d.jpg", b"x"),
        ("d.json", b"{}"), ("../e.jpg", b"x"), ("../e.cls", b"1"), ("/f.jpg", b"x"), ("readme", b"x"),
        ("._1.jpg", b"x"),
    ]  # fmt: skip
    good = [("1.jpg", b"x"), ("1.cls", b"0"), ("2.jpg", b"x"), ("2.cls", b"1")]
    path = write(tmp_path / "train.tar", good + odd)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("g.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("g.cls"), io.BytesIO())
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    source = opened(path)
    assert sizes(source) == {"train": 2}
    names = {reason: [name.rpartition(" ")[2] for name in found] for reason, found in source.left_out.items()}
    assert names == {
        "images without a label, or with the label -1": ["a.jpg", "c.jpg", "d.jpg"],
        "samples without an image": ["b", "g"],
        "members of archives with an absolute name or with '..' in it": ["../e.jpg", "../e.cls", "/f.jpg"],
        "members of archives that belong to no sample: their names are not NAME.ENDING": ["readme"],
        "hidden members of archives": ["._1.jpg"],
        "members of archives that are links or special files": ["g.jpg"],
    }


def test_columns_choose_among_several(tmp_path):
    fields = json.dumps({"label": 3, "class_name": "cat", "width": 40}).encode()
    others = json.dumps({"label": 4, "class_name": "dog", "width": 41}).encode()
    members = [("1.jpg", b"x"), ("1.json", fields), ("2.jpg", b"x"), ("2.json", others)]
    path = write(tmp_path / "train.tar", members)
    message = "train.tar: 1 has several candidates for the label, label, class_name: name those"
    with pytest.raises(UserError, match=message):
        opened(path)
    assert opened(path, "jpg,class_name").class_names == ("cat", "dog")
    assert opened(path, "jpg,width").class_names == ("40", "41")
    write(
        path,
        [
            ("1.jpg", b"x"),
            ("1.txt", b"a"),
            ("1.png", b"y"),
            ("2.jpg", b"z"),
            ("2.txt", b"b"),
            ("2.cls", b"c"),
        ],
    )
    with pytest.raises(UserError, match=r"train.tar: 1 has several candidates for the image, jpg, png"):
        opened(path)
    assert opened(path, "jpg,txt").class_names == ("a", "b")
    with pytest.raises(
        UserError, match=r"no labelled images for training \(2 left out: samples without an image"
    ):
        opened(path, "webp,txt")


def test_the_version_changes_with_the_labels(tmp_path):
    path = write(tmp_path / "train.tar")
    version = opened(path).version
    assert opened(write(tmp_path / "elsewhere" / "train.tar")).version == version
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1" + bytes(511), b"2" + bytes(511)))
    assert opened(path).version != version


def test_the_cache_of_a_pattern_is_found_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert identity("webdataset:data/{a,b}/*.tar") == f"webdataset:{tmp_path}/data/{{a,b}}/*.tar"
    assert identity(f"webdataset:{tmp_path}/data/{{a,b}}/*.tar") == identity("webdataset:data/{a,b}/*.tar")
    assert identity("webdataset:train.tar") == f"webdataset:{tmp_path}/train.tar"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("1.jpg", b"x"), ("1.cls", b"0")], "has only one class, 0"),
        (
            [("readme", b"x")],
            r"no labelled images for training \(1 left out: members of archives that belong",
        ),
        ([("1.jpg", b"x"), ("1.JPG", b"y")], "train.tar: 1.jpg is there twice"),
        ([("1.jpg", b"x"), ("1.cls", b"\xff")], "the label of .*train.tar: 1 is not text in UTF-8"),
        ([("1.jpg", b"x"), ("1.cls", b"-3")], "has the label -3, but integers must be from 0"),
        ([("1.jpg", b"x"), ("1.json", b"{")], "train.tar: 1.json can't be read as JSON"),
        ([("1.jpg", b"x"), ("1.json", b"[" * 10**5)], "train.tar: 1.json can't be read as JSON"),
        ([("1.jpg", b"x"), ("1.json", b"[1]")], "1.json must hold an object with the label"),
        ([("1.jpg", b"x"), ("1.json", b'{"label": [1]}')], r"has the label \[1\], but it must be a word or"),
    ],
)
def test_unsuitable_shards_are_refused_in_one_line(members, message, tmp_path):
    with pytest.raises(UserError, match=message) as refused:
        opened(write(tmp_path / "train.tar", members))
    assert "\n" not in str(refused.value)


def test_a_compressed_or_cut_shard_is_refused(tmp_path):
    path = write(tmp_path / "train.tar")
    whole = path.read_bytes()
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(
        UserError, match=r"train.tar is compressed, but archives are read in place: decompress it"
    ):
        opened(path)
    for size in (0, 100, 512, 1000, 1024, 5 * 512):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"ends early or is damaged|can't be read as a tar archive"):
            opened(path)
