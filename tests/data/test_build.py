"""A build gives the same bytes after any interruption, and never an incomplete cache."""

import errno
import functools
import io
import itertools
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_jax import UserError
from alexnet_jax.data import build_pool as workers
from alexnet_jax.data.build import build
from alexnet_jax.data.cache import load
from alexnet_jax.data.dataset import cache_path, open_cache
from alexnet_jax.data.images import BadImage, square
from alexnet_jax.data.shards import Shard
from alexnet_jax.data.source import Example, Source, Split
from alexnet_jax.errors import RunError
from alexnet_jax.loops.prepare import prepare
from tests import odd_images
from tests.conftest import CONFIGS


@pytest.fixture
def folder(tmp_path):
    """A folder of 120 images in two classes. They show noise, which does not compress."""
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(60):
            image = draws.integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / "images" / name / f"{i:02}.png")
    return tmp_path / "images"


@pytest.fixture
def data(tiny, tmp_path, folder, monkeypatch):
    """Settings for about twelve shards of ten images each, which two processes would share."""
    monkeypatch.setattr("alexnet_jax.data.shards._SMALLEST", 10 * 3 * 32**2)
    monkeypatch.setattr(workers, "_WORTH_A_PROCESS", 10 * 3 * 32**2)
    tiny.data.source = f"folder:{folder}"
    tiny.data.cache_dir = str(tmp_path / "cache")
    tiny.data.image_size = 32
    return tiny.data


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def built_elsewhere(data, name):
    """Return the files of a cache that one process builds in another directory without interruption."""
    elsewhere = data.copy_and_resolve_references()
    elsewhere.cache_dir = str(Path(data.cache_dir).with_name(name))
    return contents(open_cache(elsewhere, print).directory)


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_several_processes_write_the_same_bytes_as_one(data, encoding, monkeypatch):
    data.encoding = encoding
    expected = built_elsewhere(data, "undisturbed")
    assert len([name for name in expected if name.endswith(".images")]) >= 12
    monkeypatch.setattr(workers, "cores", lambda: 3)
    assert contents(open_cache(data, print).directory) == expected


def test_each_way_to_resize_has_a_cache_of_its_own(data, folder):
    caches = {}
    for data.resize in ("crop", "squash", "torchvision"):
        caches[data.resize] = cache = open_cache(data, print)
        label = next(i for i, row in enumerate(cache.info.class_names) if row == "cat")
        first = cache.images["train"][cache.labels["train"] == label][0]
        found = [square(path.read_bytes(), 32, data.resize)[0] for path in sorted((folder / "cat").iterdir())]
        assert any((first == each).all() for each in found)
    assert len({cache.directory for cache in caches.values()}) == 3
    assert len({cache.info.fingerprint for cache in caches.values()}) == 3


def test_images_and_labels_belong_together(data, folder):
    found = open_cache(data, print)
    assert found.info.class_names == ("cat", "dog")
    assert sum(found.info.splits.values()) == 120
    with Image.open(folder / "dog" / "59.png") as image:
        square = np.asarray(image.resize((32, 32), Image.Resampling.BOX, (5, 0, 45, 40)))
    positions = [
        (split, int(row))
        for split, images in found.images.items()
        for row in np.flatnonzero((np.abs(images[:].astype(int) - square) <= 1).all((1, 2, 3)))
    ]
    assert [int(found.labels[split][row]) for split, row in positions] == [1]


def interrupt_after(monkeypatch, shards, error):
    """Make the build raise an error in the middle of a shard, after ``shards`` complete ones."""
    write, written = workers.Work.write, []

    def dies(self, part, check):
        left = itertools.count() if len(written) < shards else iter([0, 1, 2, -1])

        def check_and_die():
            if next(left) < 0:
                raise error
            check()

        shard = write(self, part, check_and_die)
        written.append(part)
        return shard

    monkeypatch.setattr(workers.Work, "write", dies)
    monkeypatch.setattr(workers, "cores", lambda: 1)
    return written


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_build_resumes_after_an_interruption(data, error, monkeypatch):
    expected = built_elsewhere(data, "undisturbed")
    path = cache_path(data)
    with monkeypatch.context() as patch:
        first = interrupt_after(patch, 5, error)
        kind = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UserError
        with pytest.raises(kind) as raised:
            open_cache(data, print)
    if isinstance(error, OSError):
        advice = "No space left on device): free some space there and run the same command again to continue"
        assert advice in str(raised.value)
    assert not path.exists()
    building = path.with_name(f"{path.name}.building")
    assert sorted(file.name for file in building.iterdir()) == sorted(part.images_name for part in first)
    said = []
    with monkeypatch.context() as patch:
        second = interrupt_after(patch, 1000, error)
        open_cache(data, said.append)
    assert len(first) == 5
    assert not set(first) & set(second)
    assert any(line.startswith("resuming: ") for line in said)
    assert contents(path) == expected
    assert [file for file in path.parent.iterdir() if file.is_dir()] == [path]


@pytest.mark.parametrize("part", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_a_full_disk_at_any_file_leaves_nothing_half_written(data, part, monkeypatch):
    """The disk is full after the fraction ``part`` of the files: the next one is truncated."""
    fsync, written, number = os.fsync, [], None

    def may_be_full(descriptor):
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            if len(written) == number:
                os.ftruncate(descriptor, status.st_size // 2)
                raise OSError(28, "No space left on device")
            written.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(workers, "cores", lambda: 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", may_be_full)
        expected = built_elsewhere(data, "undisturbed")
        number = round(part * (len(written) - 1))
        written.clear()
        with pytest.raises(UserError, match="No space left on device"):
            open_cache(data, print)
    assert not cache_path(data).exists()
    assert not list(Path(data.cache_dir).rglob("*.writing"))
    assert contents(open_cache(data, print).directory) == expected


def test_files_damaged_by_a_power_cut_are_written_again(data, monkeypatch):
    expected = built_elsewhere(data, "undisturbed")
    path = cache_path(data)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            open_cache(data, print)
    results = sorted(path.with_name(f"{path.name}.parts").glob("*.npz"))
    results[0].write_bytes(b"")
    os.truncate(results[1], 100)
    os.truncate(path.with_name(f"{path.name}.building") / "train-00002.images", 100)
    assert contents(open_cache(data, print).directory) == expected


def test_a_build_starts_from_scratch_when_the_images_have_changed(data, folder, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            open_cache(data, print)
    (folder / "cat" / "00.png").unlink()
    said = []
    assert sum(open_cache(data, said.append).info.splits.values()) == 119
    assert not any(line.startswith("resuming") for line in said)


def test_images_that_were_replaced_by_others_of_the_same_size_are_read_again(data, folder, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            open_cache(data, print)
    path = folder / "cat" / "00.png"
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    said = []
    open_cache(data, said.append)
    assert not any(line.startswith("resuming") for line in said)


def command(data, cache_dir):
    return [
        sys.executable, "-m", "alexnet_jax", "prepare", f"--config={CONFIGS}/folder.py",
        f"--config.data.source={data.source}", "--config.data.encoding=raw",
        f"--config.data.cache_dir={cache_dir}",
    ]  # fmt: skip


@pytest.fixture
def many(data, folder, tmp_path):
    """800 images of 256x256: five shards."""
    for name in ("cat", "dog"):
        (tmp_path / "many" / name).mkdir(parents=True)
        for i in range(400):
            (tmp_path / "many" / name / f"{i:03}.png").symlink_to(folder / name / f"{i % 60:02}.png")
    data.source = f"folder:{tmp_path}/many"
    return data


def wait_for_line(stream, start):
    assert any(line.startswith(start) for line in stream), f"no line starts with {start}"


@pytest.mark.slow
def test_ctrl_c_prints_one_line(many, tmp_path):
    """Ctrl-C reaches all processes of the terminal, while they start and while they work."""
    for seconds in (0.0, 0.3, 1.0):
        process = subprocess.Popen(
            command(many, tmp_path / str(seconds)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True,
        )  # fmt: skip
        wait_for_line(process.stdout, "preparing folder:")
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        line = "alexnet-jax: SIGINT: what is prepared so far is kept; resume with: alexnet-jax prepare"
        # Otherwise the cache was finished, or Python was ending.
        assert (process.returncode, err.count("\n")) in [(130, 1), (0, 0), (-signal.SIGINT, 0)]
        assert err == "" or err.startswith((line, "alexnet-jax: stopped\n")), err


def test_a_script_without_a_guard_may_prepare(many, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from alexnet_jax.data.dataset import open_cache\n"
        "from alexnet_jax.config import base\n"
        "data = base().data\n"
        f"data.source, data.cache_dir = {many.source!r}, {str(tmp_path / 'by_script')!r}\n"
        "print(open_cache(data, print).info.splits)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    assert done.stdout.endswith("{'train': 640, 'validation': 80, 'test': 80}\n")
    assert done.stdout.count("preparing") == 1


# ---- Worker processes -------------------------------------------------------------------------------


class Kills:
    """What ends a worker that unpickles it."""

    def __reduce__(self):
        return os._exit, (9,)


@pytest.fixture
def work_of(tmp_path, monkeypatch):
    """A function that returns twelve shards, which two workers write."""
    monkeypatch.setattr("alexnet_jax.data.shards._SMALLEST", 10 * 3 * 32**2)
    monkeypatch.setattr(workers, "_WORTH_A_PROCESS", 10 * 3 * 32**2)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    for name in ("building", "results"):
        (tmp_path / name).mkdir()

    def work(read):
        splits = {"train": Split(read, np.arange(120))}
        source = Source("some", "1", ("a", "b"), splits, stamp="more than a pipe holds" * 2**17)
        return workers.Work(source, tmp_path / "building", tmp_path / "results", 32, "crop", "raw")

    return work


def test_a_worker_that_is_killed_while_it_starts_ends_the_build(work_of):
    with pytest.raises(RunError, match="ended unexpectedly"):
        workers.write_shards(work_of(Kills()), 0.0, print)
    assert not multiprocessing.active_children()


def one_image(i):
    image = io.BytesIO()
    Image.new("RGB", (32, 32)).save(image, "PNG")
    return Example(f"{i}", i % 2, image.getvalue)


def test_a_worker_counts_each_image_once_and_reports_seldom(work_of, monkeypatch):
    monkeypatch.setattr(workers, "_REPORT", np.inf)
    work, (ours, theirs) = work_of(one_image), multiprocessing.Pipe()
    worker = threading.Thread(target=workers._serve, args=(theirs,))
    worker.start()
    ours.send(work)
    reports = []
    for part in work.parts()[:3]:
        ours.send(part)
        reports += [ours.recv(), ours.recv()]
    ours.close()
    worker.join()
    assert reports == [10, (), 10, (), 10, ()]


def test_workers_that_hang_are_killed(work_of, monkeypatch):
    monkeypatch.setattr(workers, "_LAST_IMAGE", 0.1)
    with workers._workers(work_of(Image.open), 2):
        hanging = multiprocessing.active_children()
        for process in hanging:
            os.kill(process.pid, signal.SIGSTOP)
    assert [process.exitcode for process in hanging] == [-signal.SIGKILL] * 2


class TwoWords(Exception):
    """An error that can be pickled, but not unpickled."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def no_pickle():
    error = ValueError("no pickle")
    error.function = lambda: None
    return error


def fails(error, i):
    """Return an example of a source that has a bug."""
    raise error()


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (functools.partial(KeyError, "missing"), KeyError, "missing"),
        (functools.partial(TwoWords, "two", "words"), RuntimeError, "^TwoWords: two words"),
        (no_pickle, RuntimeError, "^ValueError: no pickle"),
    ],
)
def test_an_error_of_a_worker_is_raised_with_its_traceback(work_of, error, kind, message):
    with pytest.raises(kind, match=message) as caught:
        workers.write_shards(work_of(functools.partial(fails, error)), 0.0, print)
    (note,) = caught.value.__notes__
    assert "in fails" in note


# ---- Odd and broken images --------------------------------------------------------------------------


@pytest.fixture
def odd_folder(tmp_path):
    """A folder with every kind of image: a class of good ones, and a class of broken ones."""
    for name, (content, _) in odd_images.good().items():
        for i in range(8):
            path = tmp_path / "odd" / "good" / f"{i}_{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    (tmp_path / "odd" / "broken").mkdir()
    for name, content in odd_images.broken().items():
        (tmp_path / "odd" / "broken" / name).write_bytes(content)
    (tmp_path / "odd" / "broken" / "nowhere.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "odd" / "broken" / "two\nlines\x1b.jpg").touch()
    os.mkfifo(tmp_path / "odd" / "broken" / "pipe.jpg")
    return tmp_path / "odd"


def test_broken_images_are_counted_named_and_left_out(data, odd_folder):
    data.source, data.max_broken = f"folder:{odd_folder}", 0.2
    said = []
    found = open_cache(data, said.append)
    assert sum(found.info.splits.values()) == 8 * len(odd_images.good())
    lines = (found.directory / "broken.txt").read_text().splitlines()
    assert len(lines) == len(odd_images.broken()) + 3
    assert all(line.startswith(f"{odd_folder}/broken/") and ": " in line for line in lines)
    assert any("empty.jpg: not an image" in line for line in lines)
    assert any("nowhere.jpg: No such file" in line for line in lines)
    assert any("pipe.jpg: not a regular file" in line for line in lines)
    assert any(r"two\nlines\x1b.jpg: not an image" in line for line in lines)
    start = f"{len(lines)} left out: images that can't be read, which broken.txt in the cache lists: "
    assert any(line.startswith(start + lines[0]) for line in said)
    for labels in found.labels.values():
        assert set(labels) == {1}  # good, the second of the classes


def test_what_is_left_out_and_what_lacks_images_or_words_is_reported(data, folder):
    data.max_broken, data.validation, data.test = 0.1, 0.0, 0.0
    (folder / "n00000001").mkdir()
    (folder / "n00000001" / "cut.png").write_bytes(odd_images.broken()["cut.png"])
    (folder / "cat" / "notes.txt").write_bytes(b"")
    said = []
    open_cache(data, said.append)
    counts = said.index("train 121 images of 3 classes (cat, dog, n00000001)")
    assert said[counts + 1] == "1 left out: files that are not images (1 .txt): cat/notes.txt"
    assert "train has no images of 1 of the 3 classes: n00000001" in said[counts + 2 :]
    assert "no list of words names 1 of the classes: n00000001" in said


def test_too_many_broken_images_stop_a_build_and_a_higher_limit_resumes_it(data, odd_folder):
    data.source, data.max_broken = f"folder:{odd_folder}", 0.001
    with pytest.raises(UserError, match=r"can't be read, more than config.data.max_broken = 0.001") as error:
        open_cache(data, print)
    listed = Path(str(error.value).split("the images that ")[1].split(" lists")[0])
    assert listed.read_text().startswith(f"{odd_folder}/broken/")
    assert not cache_path(data).exists()
    advised = float(str(error.value).partition("--config.data.max_broken=")[2].partition(",")[0])
    assert data.max_broken < advised < 1
    data.max_broken = 0.2
    said = []
    open_cache(data, said.append)
    assert any(line.startswith("resuming") for line in said)


def test_images_that_were_repaired_are_read_again(data, monkeypatch):
    """A file with other permissions, or a new decoder: neither changes the size nor the date of the file."""
    monkeypatch.setattr(workers, "cores", lambda: 1)
    data.max_broken = 0.01
    with monkeypatch.context() as patched:
        opened = iter(range(1000))

        def unreadable(*args):
            if next(opened) < 2:
                raise BadImage("Permission denied")
            return square(*args)

        patched.setattr("alexnet_jax.data.shards.images.square", unreadable)
        with pytest.raises(UserError, match=r"can't be read, more than config.data.max_broken"):
            open_cache(data, print)
    found = open_cache(data, print)
    assert not (found.directory / "broken.txt").exists()
    assert contents(found.directory) == built_elsewhere(data, "elsewhere")


def test_a_damaged_part_is_written_again(data, monkeypatch):
    expected = built_elsewhere(data, "undisturbed")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            open_cache(data, print)
    path = cache_path(data)
    first, second, *_ = sorted(path.with_name(f"{path.name}.parts").glob("*.npz"))
    first.write_bytes(first.read_bytes()[:-30])
    flipped = bytearray(second.read_bytes())
    flipped[flipped.rindex(b"PK\1\2") + 10] = 99  # a compression method that does not exist
    second.write_bytes(flipped)
    assert contents(open_cache(data, print).directory) == expected


@pytest.mark.parametrize("name", ["labels", "sizes", "checksum", "broken", "another"])
def test_a_part_with_other_arrays_is_not_a_part(tmp_path, name):
    """An unfinished cache may come from a stranger."""
    arrays = {"labels": np.zeros(1, np.int32), "sizes": np.zeros(1, np.int64), "checksum": 0, "enlarged": 0}
    arrays |= {"sum_image": np.zeros((2, 2, 3), int), "products": np.zeros((3, 3), int)}
    arrays["broken"] = np.array([], str)
    np.savez(tmp_path / "part.npz", **arrays)
    assert Shard.load(tmp_path / "part.npz").sizes == [0]
    np.savez(tmp_path / "part.npz", **arrays | {name: np.zeros((2, 2))})
    with pytest.raises(ValueError, match=r"part\.npz does not have the arrays of a part"):
        Shard.load(tmp_path / "part.npz")


def test_small_images_are_enlarged_and_counted(data):
    data.image_size = 48
    said = []
    assert open_cache(data, said.append).images["train"].shape[1:] == (48, 48, 3)
    assert "120 images are smaller than 48x48, and were enlarged" in said


# ---- Directories ------------------------------------------------------------------------------------


def test_of_two_processes_one_prepares_and_the_other_waits(many, tmp_path):
    first = subprocess.Popen(command(many, tmp_path / "both"), stdout=subprocess.PIPE, text=True)
    wait_for_line(first.stdout, "preparing folder:")
    second = subprocess.run(
        command(many, tmp_path / "both"), capture_output=True, text=True, timeout=120, check=True
    )
    first.communicate()
    assert first.returncode == 0
    assert "another process is preparing" in second.stdout
    assert "preparing folder:" not in second.stdout


def test_only_force_rebuilds_a_damaged_cache(data):
    path = open_cache(data, print).directory
    expected = contents(path)
    os.truncate(path / "train-00000.images", 5)
    with pytest.raises(UserError, match="prepare --force"):
        open_cache(data, print)
    build(path, data, print)  # another process may just have made it: nothing to do
    assert (path / "train-00000.images").stat().st_size == 5
    build(path, data, print, force=True)
    assert contents(load(path, whole=True).directory) == expected
    assert sorted(file.suffix for file in path.parent.iterdir() if file != path) == [".lock"]


@pytest.mark.parametrize("renames", [0, 1])
def test_a_forced_build_that_is_killed_between_its_renames_can_be_repeated(data, renames, monkeypatch):
    path = open_cache(data, print).directory
    expected, rename, count = contents(path), Path.rename, itertools.count()

    def dies(self, target):
        if next(count) == renames:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dies)
        with pytest.raises(KeyboardInterrupt):
            build(path, data, print, force=True)
    build(path, data, print)
    assert contents(load(path, whole=True).directory) == expected
    assert [file for file in path.parent.iterdir() if file.is_dir()] == [path]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError(errno.EIO, "Input/output error"), "Input/output error"), (MemoryError(), "too little memory")],
)
def test_a_source_that_fails_is_named_and_not_the_cache(data, error, reason, monkeypatch):
    def fail(path):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(workers, "cores", lambda: 1)
        patch.setattr("alexnet_jax.data.folder.file_content", fail)
        with pytest.raises(RunError, match=rf"\.png can't be read .*{reason}.*: run the same command again"):
            open_cache(data, print)
    open_cache(data, print)


def test_too_many_open_files_are_not_a_reason_for_another_place(data, monkeypatch):
    def fail(*args):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("alexnet_jax.data.build.write_shards", fail)
    with pytest.raises(RunError, match=r"can't be written \(Too many open files\): run the same command"):
        open_cache(data, print)


def test_a_kill_while_a_file_is_written_leaves_no_stray_file_in_the_cache(data, monkeypatch):
    path, replace = cache_path(data), Path.replace

    def dies(self, target):
        if Path(target).name == "data.json":
            os.link(self, self.with_name(".0123456789abcdef.writing"))  # as a kill would leave it
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            build(path, data, print)
    assert list(path.with_name(f"{path.name}.building").glob(".*.writing"))
    build(path, data, print)
    assert not list(path.glob("*.writing"))
    assert not list(path.glob(".*"))


def test_a_directory_that_cannot_be_written_is_refused(data, tmp_path):
    (tmp_path / "file").write_text("")
    data.cache_dir = str(tmp_path / "file")
    with pytest.raises(UserError, match=r"can't be written \(.*\): take another"):
        open_cache(data, print)


def test_disk_space_is_checked_before_a_build_begins(data, monkeypatch):
    monkeypatch.setattr(workers.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100 * 3 * 32**2}))
    with pytest.raises(UserError, match=r"needs 369 kB, but .* has 307 kB free: free some space"):
        open_cache(data, print)
    assert not list(Path(data.cache_dir).rglob("*.images"))


def test_labels_that_are_no_classes_are_refused(data, monkeypatch):
    from alexnet_jax.data import folder

    read = folder._read
    monkeypatch.setattr(
        folder, "_read", lambda names, labels, i: read(names, [label + 1 for label in labels], i)
    )
    monkeypatch.setattr(workers, "cores", lambda: 1)
    with pytest.raises(UserError, match="has the label 2, but labels must be from 0 to 1"):
        open_cache(data, print)


def test_what_a_killed_build_left_beside_its_cache_is_deleted(tiny, data):
    path = open_cache(data, print).directory
    for again in (lambda: open_cache(data, print), lambda: prepare(tiny)):
        path.with_name(f"{path.name}.parts").mkdir()
        again()
        assert {each.name for each in path.parent.iterdir()} == {path.name, f"{path.name}.lock"}


def test_a_removed_cache_is_built_again_despite_the_remains_of_a_killed_build(data):
    path = open_cache(data, print).directory
    expected = contents(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "alexnet_jax.data.build.shutil.rmtree", lambda *_, **__: None
        )  # killed before it tidied up
        build(path, data, print, force=True)
    for directory in (path, path.with_name(f"{path.name}.old")):
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()
    assert path.with_name(f"{path.name}.parts").exists()
    assert contents(open_cache(data, print).directory) == expected
