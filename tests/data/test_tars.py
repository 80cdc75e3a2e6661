"""Members of tar archives are found by their headers and read in place."""

import io
import itertools
import tarfile

import numpy as np
import pytest

from alexnet_jax import UserError
from alexnet_jax.data import tars
from alexnet_jax.data.images import BadImage
from tests import forms


def found(path):
    with tars.open_archive(path) as file:
        return [(member.name, member.offset_data, member.size) for member in tars.members(file)]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_every_format_lie_where_they_are_found(kind, tmp_path):
    long = f"{'folder' * 14}/{'ü' * 40}.jpg" if kind == tarfile.USTAR_FORMAT else f"{'x' * 300}/ü.jpg"
    with tarfile.open(tmp_path / "a.tar", "w", format=kind) as archive:
        for name, size in (("a.jpg", 1000), (long, 7), ("empty.jpg", 0)):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(name[0].encode() * size))
    places = found(tmp_path / "a.tar")
    assert [name for name, _, _ in places] == ["a.jpg", long, "empty.jpg"]
    names, offsets, sizes = zip(*places, strict=True)
    zeros = np.zeros(3, np.int32)
    read = tars.Images([str(tmp_path / "a.tar")], names, zeros, zeros, np.array(offsets), np.array(sizes))
    assert [read(i).content() for i in range(3)] == [b"a" * 1000, long[0].encode() * 7, b""]


def test_an_archive_in_an_archive(tmp_path):
    inner = forms.tar([("x.jpg", b"1234")])
    (tmp_path / "a.tar").write_bytes(forms.tar([("first.tar", inner), ("second.tar", inner)]))
    with tars.open_archive(tmp_path / "a.tar") as file:
        places = []
        for archive in tars.members(file):
            begin = archive.offset_data
            places += [
                member.offset_data - begin for member in tars.members(file, begin, begin + archive.size)
            ]
    assert places == [512, 512]


def with_a_hole(archive):
    return archive[:1024] + bytes(512) + archive[1536:]


@pytest.mark.parametrize(
    "damaged",
    [
        with_a_hole,
        lambda archive: archive + forms.tar([("c.jpg", b"3")]),
        lambda archive: archive + bytes(3 * 2**20) + b"c",
    ],
)
def test_what_follows_the_end_is_not_ignored(damaged, tmp_path):
    archive = damaged(forms.tar([("a.jpg", b"1"), ("b.jpg", b"2")]))
    (tmp_path / "a.tar").write_bytes(archive)
    with pytest.raises(UserError, match=r"a.tar continues after the end of an archive at byte [12],\d{3}:"):
        found(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(forms.tar([("inner.tar", archive)]))
    with tars.open_archive(tmp_path / "a.tar") as file:
        inner = next(tars.members(file))
        with pytest.raises(UserError, match="continues after the end"):
            list(tars.members(file, inner.offset_data, inner.offset_data + inner.size))


def test_a_negative_size_is_refused(tmp_path):
    first = tarfile.TarInfo("a.jpg")
    second = tarfile.TarInfo("b.jpg")
    second.size = -1024  # back to the first header
    archive = first.tobuf(tarfile.GNU_FORMAT) + second.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    (tmp_path / "a.tar").write_bytes(archive)
    damaged = pytest.raises(UserError, match=r"a.tar ends early or is damaged at byte 512: copy the archive")
    with tars.open_archive(tmp_path / "a.tar") as file, damaged:
        list(itertools.islice(tars.members(file), 10))


def test_any_number_of_zeros_may_end_an_archive(tmp_path):
    (tmp_path / "a.tar").write_bytes(forms.tar([("a.jpg", b"1")]) + bytes(3 * 2**20 + 1))
    assert [name for name, *_ in found(tmp_path / "a.tar")] == ["a.jpg"]


def test_an_image_that_is_too_large_is_not_read(tmp_path):
    one = np.array([0])
    read = tars.Images([str(tmp_path / "a.tar")], ["a.jpg"], one, one, one, np.array([2 * 10**9]))
    with pytest.raises(BadImage, match="its size is 2 GB, but images of at most 512 MB are read"):
        read(0).content()
