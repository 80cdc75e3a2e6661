"""ImageNet's archives as they are shipped, and what can be wrong with them."""

import pickle

import pytest

from alexnet_jax import UserError
from alexnet_jax.data import ilsvrc2012
from alexnet_jax.data.images import BadImage
from alexnet_jax.data.sources import known_examples, open_source
from tests import forms
from tests.data.test_folder import sizes

TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


@pytest.fixture
def photos():
    return forms.photographs()


def opened(root):
    return open_source(f"ilsvrc2012:{root}", None, 0.1)


def test_classes_are_in_the_order_of_their_ids_and_images_in_that_of_their_names(tmp_path, photos):
    source = pickle.loads(pickle.dumps(opened(forms.archives(photos, tmp_path).partition(":")[2])))
    assert source.class_names == forms.IDS
    for split, expected in photos.items():
        examples = [source.splits[split][i] for i in range(len(source.splits[split]))]
        found = [(forms.IDS[e.label], e.name.rpartition(" ")[2], e.content()) for e in examples]
        assert found == expected
    assert source.left_out == {}


def test_nothing_is_written_and_the_archives_are_not_copied(tmp_path, photos):
    forms.archives(photos, tmp_path)
    opened(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {TRAIN, VALIDATION, DEVKIT}


def test_without_validation_images_a_tenth_is_held_out(tmp_path):
    photos = forms.photographs(train=10)
    del photos["validation"]
    forms.archives(photos, tmp_path)
    assert sizes(opened(tmp_path)) == {"train": 36, "validation": 4}


def test_the_size_is_known_before_the_archives_are_there():
    assert known_examples("ilsvrc2012:DIR", None) == 1_281_167


def test_the_version_changes_with_the_images(tmp_path, photos):
    forms.archives(photos, tmp_path / "here")
    version = opened(tmp_path / "here").version
    forms.archives(photos, tmp_path / "there")
    assert opened(tmp_path / "there").version == version
    photos["train"][0] = (*photos["train"][0][:2], photos["train"][0][2] + b"\0")
    forms.archives(photos, tmp_path / "there")
    assert opened(tmp_path / "there").version != version


def test_members_that_are_not_images_of_a_class_are_counted(tmp_path, photos):
    forms.archives(photos, tmp_path)
    odd = [("a.JPEG", b"1"), ("../b.JPEG", b"2"), ("/c.JPEG", b"3"), ("notes.txt", b"4")]
    twice = [("a.JPEG", b"1"), ("a.JPEG", b"5")]
    members = [(f"{wnid}.tar", forms.tar(each)) for wnid, each in zip(forms.IDS, (odd, twice), strict=False)]
    members.append(("readme.txt", b"hello"))
    (tmp_path / TRAIN).write_bytes(forms.tar(members))
    source = opened(tmp_path)
    assert sizes(source) == {"train": 2, "validation": 4}
    assert [source.splits["train"][i].content() for i in range(2)] == [b"1", b"5"]
    assert {reason: len(names) for reason, names in source.left_out.items()} == {
        "members of archives with an absolute name or with '..' in it": 2,
        "members of archives that are not images": 1,
        "images of which a later one in the archive has the name": 1,
        f"members of {TRAIN} that are not archives nXXXXXXXX.tar": 1,
        "validation images of classes without training images": 4,
    }


def test_validation_images_without_a_label_are_counted(tmp_path, photos):
    forms.archives(photos, tmp_path)
    members = [each[1:] for each in photos["validation"]]
    extra = [("ILSVRC2012_val_00000009.JPEG", b"1"), ("cat.JPEG", b"2")]
    (tmp_path / VALIDATION).write_bytes(forms.tar(members + extra))
    source = opened(tmp_path)
    assert sizes(source)["validation"] == 8
    reason = f"validation images for which {DEVKIT} has no label"
    assert source.left_out[reason] == ["ILSVRC2012_val_00000009.JPEG", "cat.JPEG"]


def no_archives(root, photos):
    (root / TRAIN).unlink()


def no_devkit(root, photos):
    (root / DEVKIT).unlink()


def cut_devkit(root, photos):
    (root / DEVKIT).write_bytes((root / DEVKIT).read_bytes()[:200])


def devkit_without_table(root, photos):
    forms.devkit(photos["validation"], root / DEVKIT, **{"meta.mat": b"MATLAB 5.0"})


def devkit_without_labels(root, photos):
    forms.devkit(photos["validation"], root / DEVKIT, **{"ILSVRC2012_validation_ground_truth.txt": None})


def label_out_of_range(root, photos):
    labels = {"ILSVRC2012_validation_ground_truth.txt": b"1\n" * 7 + b"1001\n"}
    forms.devkit(photos["validation"], root / DEVKIT, **labels)


def no_tar(root, photos):
    (root / TRAIN).write_bytes(b"<html>401 Unauthorized</html>" * 40)


def empty(root, photos):
    (root / TRAIN).write_bytes(b"")


def unpacked(root, photos):
    (root / TRAIN).write_bytes(forms.tar([each[1:] for each in photos["train"]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_archives, "has no ILSVRC2012_img_train.tar: put it there"),
        (no_devkit, "has ILSVRC2012_img_val.tar, but not its labels"),
        (cut_devkit, "devkit_t12.tar.gz is damaged: .*: copy it again"),
        (devkit_without_table, "meta.mat has no table of synsets"),
        (devkit_without_labels, "it has no .*ILSVRC2012_validation_ground_truth.txt"),
        (label_out_of_range, "has the label 1001, which .*meta.mat does not have"),
        (no_tar, "ILSVRC2012_img_train.tar can't be read as a tar archive"),
        (empty, "ILSVRC2012_img_train.tar can't be read as a tar archive .empty file."),
        (unpacked, "must hold archives nXXXXXXXX.tar with images, one for each class, but it has 0 of them"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_unsuitable_archives_are_refused_in_one_line(change, message, tmp_path, photos):
    forms.archives(photos, tmp_path)
    change(tmp_path, photos)
    with pytest.raises(UserError, match=message) as refused:
        opened(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", [TRAIN, VALIDATION])
def test_an_archive_that_was_cut_off_anywhere_is_refused(name, tmp_path):
    photos = forms.photographs(train=2, validation=1)
    forms.archives(photos, tmp_path)
    whole = (tmp_path / name).read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # of the last member
    for size in (1, 511, *range(512, end + 1, 512), 700, end - 300):
        (tmp_path / name).write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"ends early or is damaged|can't be read as a tar archive"):
            opened(tmp_path)


def test_an_archive_that_becomes_shorter_has_broken_images(tmp_path, photos):
    forms.archives(photos, tmp_path)
    split = opened(tmp_path).splits["validation"]
    (tmp_path / VALIDATION).write_bytes(b"")
    with pytest.raises(BadImage, match="has become shorter"):
        split[0].content()
    (tmp_path / VALIDATION).unlink()
    with pytest.raises(BadImage, match="No such file"):
        split[0].content()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("_READ_IDS", "import os; os.abort()", r"meta\.mat has no table of synsets"),
        ("_LARGEST", 5, r"ground_truth\.txt has more than 5 bytes"),
    ],
)
def test_a_devkit_that_crashes_scipy_or_is_too_large_is_refused(
    name, value, message, tmp_path, photos, monkeypatch
):
    forms.archives(photos, tmp_path)
    monkeypatch.setattr(ilsvrc2012, name, value)
    with pytest.raises(UserError, match=rf"devkit_t12\.tar\.gz is damaged: .*{message}: copy it again"):
        opened(tmp_path)
