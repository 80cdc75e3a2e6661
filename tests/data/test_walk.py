"""Files and folders that a walk leaves out, and links out of the root."""

import pytest

from alexnet_jax.data import walk
from alexnet_jax.data.sources import open_source
from alexnet_jax.data.walk import Walk, holds_images, image_files, image_folders
from tests.data.test_folder import fill, sizes


def test_files_and_folders_of_systems_are_left_out_at_any_depth(tmp_path):
    for name in ("cat", "dog", "cat/@eaDir/000.png", "@eaDir", "$RECYCLE.BIN", "__MACOSX/dog", "dog/.hidden"):
        fill(tmp_path / name, 4)
    fill(tmp_path / ".ipynb_checkpoints", 2)
    for name in (".DS_Store", "cat/._001.png", "cat/Thumbs.db", "dog/a.TXT", "dog/b.txt", "dog/noname"):
        (tmp_path / name).write_bytes(b"")
    source = open_source(f"folder:{tmp_path}", 0.0, 0.0)
    assert source.class_names == ("cat", "dog")
    assert sizes(source) == {"train": 8}
    assert source.left_out == {
        "hidden files and folders": [".DS_Store", ".ipynb_checkpoints", "cat/._001.png", "dog/.hidden"],
        "folders that systems make for themselves": ["$RECYCLE.BIN", "@eaDir", "__MACOSX", "cat/@eaDir"],
        "files that are not images (2 .txt, 1 without a suffix, 1 .db)": [
            "cat/Thumbs.db",
            "dog/a.TXT",
            "dog/b.txt",
            "dog/noname",
        ],
    }


def test_many_suffixes_are_summed_up(tmp_path):
    for i in range(20):
        (tmp_path / f"a.{i % 9}").write_bytes(b"")
    records = Walk(str(tmp_path))
    records.inside(str(tmp_path))
    (reason,) = records.left_out()
    assert reason == "files that are not images (1 .0, 1 .1, 1 .2, 1 .3, 1 .4, 4 other suffixes)"


def test_a_list_of_words_is_not_left_out(tmp_path):
    (tmp_path / "words.txt").write_text("n00000001 a thing")
    records = Walk(str(tmp_path))
    assert records.inside(str(tmp_path)) == ([], [])
    assert records.left_out() == {}


@pytest.fixture
def photographs(tmp_path):
    """A folder with pictures of formats that need a decoder."""
    for name in ("cat", "dog"):
        fill(tmp_path / name, 3)
        for suffix in (".heic", ".HEIF", ".avif"):
            (tmp_path / name / f"image{suffix}").write_bytes(b"")
    return tmp_path


def test_photographs_without_a_decoder_are_counted(photographs, monkeypatch):
    monkeypatch.setattr(walk, "missing_decoder", lambda suffix: "its decoder" if suffix[1] == "h" else "")
    source = open_source(f"folder:{photographs}", 0.0, 0.0)
    assert sizes(source) == {"train": 8}
    names = ["cat/image.HEIF", "cat/image.heic", "dog/image.HEIF", "dog/image.heic"]
    assert source.left_out == {"its decoder": names}
    assert len(image_files(str(photographs))) == 12  # so that `predict` names each of them
    monkeypatch.setattr(walk, "missing_decoder", lambda suffix: "")
    assert sizes(open_source(f"folder:{photographs}", 0.0, 0.0)) == {"train": 12}


def test_a_folder_holds_images_even_if_their_decoder_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(walk, "missing_decoder", lambda suffix: "its decoder")
    for name in ("a/deep/x.heic", "b/@eaDir/x.jpg", "c/.x.jpg", "d/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "d" / "up").symlink_to(tmp_path / "d")
    assert [holds_images(str(tmp_path / name)) for name in "abcd"] == [True, False, False, False]
    assert image_folders(str(tmp_path)) == ({"a"}, False)
    (tmp_path / "x.png").write_bytes(b"")
    assert image_folders(str(tmp_path)) == ({"a"}, True)


def test_links_out_of_the_folder_are_followed_and_reported(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    fill(root / "cat", 2)
    fill(elsewhere / "dogs", 3)
    (root / "dog").symlink_to(elsewhere / "dogs")
    (root / "cat" / "one.png").symlink_to("../../elsewhere/dogs/000.png")
    (root / "cat" / "inside.png").symlink_to("../cat/000.png")
    (tmp_path / "link").symlink_to(root)
    for path in (root, tmp_path / "link"):
        source = open_source(f"folder:{path}", 0.0, 0.0)
        assert sizes(source) == {"train": 7}
        note = f"links out of {path} that are followed: 2 (cat/one.png, dog)"
        assert source.notes == (note,)
        assert note in source.report()
