"""Published caches: complete or absent, copied with checksums, continued after a kill, errors in one line."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_jax import RunError, UserError, prepare
from alexnet_jax.cli.main import main
from alexnet_jax.data import copies
from alexnet_jax.data.cache import load
from alexnet_jax.data.dataset import NoImages, cache_path, class_count, open_cache, open_cache_of
from alexnet_jax.data.publish import fetch, publish
from alexnet_jax.errors import Interrupted
from tests.conftest import RECIPES
from tests.hostile import READ_ONLY, check_refusal, hostile


@pytest.fixture
def data(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path / "first")
    return tiny.data


@pytest.fixture
def shared(data, tmp_path):
    """A folder in which the cache of ``data`` is published. Afterwards ``data`` is as on another host."""
    cache = open_cache(data, print).directory
    publish(cache, data, str(tmp_path / "shared"), print)
    shutil.rmtree(cache)
    data.cache_dir, data.cache_from = str(tmp_path / "second"), str(tmp_path / "shared")
    return tmp_path / "shared"


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(copies, "_WAITS", (0.0, 0.0))


def contents(directory):
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def test_a_copy_equals_the_cache_that_was_published(data, tmp_path):
    first = open_cache(data, print)
    publish(first.directory, data, str(tmp_path / "shared"), print)
    data.cache_dir, data.cache_from = str(tmp_path / "second"), str(tmp_path / "shared")
    lines = []
    second = open_cache(data, lines.append)
    assert contents(second.directory) == contents(first.directory)
    place = tmp_path / "shared" / first.directory.name
    assert lines == [f"copying {place} to {second.directory}"]
    assert sorted(file.name for file in second.directory.parent.iterdir()) == [
        second.directory.name,
        f"{second.directory.name}.lock",
    ]
    assert contents(place).keys() - contents(first.directory).keys() == {"lock", "published.json"}
    lines.clear()
    open_cache(data, lines.append)  # it is on the disk
    assert lines == []


def test_the_same_cache_is_published_once_and_others_lie_beside_it(data, tmp_path):
    target, lines = tmp_path / "shared", []
    cache = open_cache(data, print).directory
    publish(cache, data, str(target), print)
    before = {file: file.stat().st_mtime_ns for file in (target / cache.name).iterdir()}
    publish(cache, data, str(target), lines.append)
    assert lines == [f"nothing to publish: {target / cache.name} has this cache already"]
    assert before == {file: file.stat().st_mtime_ns for file in (target / cache.name).iterdir()}
    data.validation = 0.0
    publish(open_cache(data, print).directory, data, str(target), print)
    assert len(list(target.iterdir())) == 2


def test_other_images_under_the_same_name_are_not_overwritten(data, shared):
    index = next(shared.glob("*/published.json"))
    index.write_text(json.dumps(json.loads(index.read_text()) | {"fingerprint": "other"}))
    data.cache_from = None
    with pytest.raises(UserError, match=r"holds other images .other. than the cache"):
        publish(open_cache(data, print).directory, data, str(shared), print)


def test_a_cache_is_not_published_into_its_own_folder(data):
    cache = open_cache(data, print).directory
    with pytest.raises(UserError, match="has files that are not of a published cache"):
        publish(cache, data, data.cache_dir, print)
    load(cache, whole=True)


def test_a_cache_that_is_not_completely_published_is_missing(data, shared):
    next(shared.glob("*/published.json")).unlink()
    with pytest.raises(UserError, match=f"has no cache of sklearn:digits .* prepare --publish={shared}"):
        open_cache(data, print)
    data.cache_from = str(shared / "absent")
    with pytest.raises(UserError, match=r"absent has no cache of sklearn:digits"):
        open_cache(data, print)


def test_a_host_needs_no_images_and_its_folder_may_have_another_path(tiny, five_classes, tmp_path):
    data = tiny.data
    data.source, data.validation, data.cache_dir = five_classes, 0.0, str(tmp_path / "first")
    first = open_cache(data, print)
    publish(first.directory, data, str(tmp_path / "shared"), print)
    shutil.rmtree(tmp_path / "photographs")
    data.cache_dir, data.cache_from = str(tmp_path / "second"), str(tmp_path / "shared")
    for source in (five_classes, f"folder:{tmp_path}/elsewhere/photographs"):
        data.source = source
        (tmp_path / "shared" / "of-another").mkdir(exist_ok=True)
        (tmp_path / "shared" / "of-another" / "published.json").write_text("{}")
        assert class_count(data) == 5  # nothing is copied yet
        assert not cache_path(data).exists()
        assert open_cache(data, print).info.fingerprint == first.info.fingerprint
    data.source = f"folder:{tmp_path}/elsewhere/others"
    with pytest.raises(UserError, match=r"has no cache of folder:.*others with these settings"):
        open_cache(data, print)
    data.source, data.validation = f"folder:{tmp_path}/elsewhere/photographs", 3.0
    with pytest.raises(UserError, match="has no cache of"):
        open_cache(data, print)


def test_a_damaged_cache_of_a_folder_with_this_name_does_not_hide_the_right_one(tiny, five_classes, tmp_path):
    data = tiny.data
    data.source, data.validation, data.cache_dir = five_classes, 0.0, str(tmp_path / "first")
    first = open_cache(data, print)
    publish(first.directory, data, str(tmp_path / "shared"), print)
    damaged = first.directory.name[:-10] + 10 * "0"
    (tmp_path / "shared" / damaged).mkdir()
    (tmp_path / "shared" / damaged / "published.json").write_text("{}")
    data.cache_dir, data.cache_from = str(tmp_path / "second"), str(tmp_path / "shared")
    data.source = f"folder:{tmp_path}/elsewhere/photographs"
    assert open_cache(data, print).info.fingerprint == first.info.fingerprint
    data.validation = 3.0
    with pytest.raises(UserError, match=f"{damaged} is damaged"):
        open_cache(data, print)


def test_two_published_folders_of_one_name_are_refused(tiny, five_classes, tmp_path):
    data = tiny.data
    data.validation, data.cache_dir = 0.0, str(tmp_path / "first")
    shutil.copytree(tmp_path / "photographs", tmp_path / "b" / "photographs")
    for source in (five_classes, f"folder:{tmp_path}/b/photographs"):
        data.source = source
        publish(open_cache(data, print).directory, data, str(tmp_path / "shared"), print)
    data.source, data.cache_from = f"folder:{tmp_path}/c/photographs", str(tmp_path / "shared")
    with pytest.raises(UserError) as refusal:
        open_cache(data, print)
    for source in (five_classes, f"folder:{tmp_path}/b/photographs"):
        assert f"--config.data.source={source}" in str(refusal.value)


@pytest.mark.parametrize("damage", ["changed", "cut", "longer", "pipe"])
@pytest.mark.parametrize("name", ["train-00000.images", "data.json", "manifest.json"])
def test_a_damaged_published_cache_is_named_and_nothing_is_kept(data, shared, name, damage):
    file = next(shared.glob(f"*/{name}"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()
    if damage == "pipe":
        os.mkfifo(file)
    else:
        file.write_bytes({"changed": content, "cut": content[:-1], "longer": content + b"x"}[damage])
    with pytest.raises(UserError, match=rf"published cache \S+ is damaged \({name} ") as refusal:
        open_cache(data, print)
    assert f"prepare --publish={shared}" in str(refusal.value)
    assert [each.suffix for each in cache_path(data).parent.iterdir()] == [".lock"]


def test_a_missing_published_file_is_named(data, shared):
    next(shared.glob("*/test.labels.npy")).unlink()
    with pytest.raises(UserError, match=r"test.labels.npy: No such file"):
        open_cache(data, print)
    assert not cache_path(data).exists()


@given(draws=st.data())
@READ_ONLY
def test_any_hostile_index_is_refused_in_one_line(data, shared, draws):
    place, copy = next(shared.glob("sklearn*")), shared.with_name("hostile")
    shutil.copytree(place, copy / place.name, dirs_exist_ok=True)
    index = draws.draw(hostile(json.loads((place / "published.json").read_text())))
    (copy / place.name / "published.json").write_text(json.dumps(index))
    data.cache_from = str(copy)
    shutil.rmtree(data.cache_dir, ignore_errors=True)
    check_refusal(lambda: open_cache(data, lambda line: None))


def test_a_damaged_cache_is_not_published(data, tmp_path):
    cache = open_cache(data, print).directory
    images = cache / "train-00000.images"
    images.write_bytes(images.read_bytes()[::-1])
    with pytest.raises(
        UserError, match=r"is damaged \(train-00000.images has a wrong checksum\), and was not"
    ):
        publish(cache, data, str(tmp_path / "shared"), print)
    assert not list(tmp_path.glob("shared/*/published.json"))


@pytest.fixture
def reads(monkeypatch):
    """The files that were read: name, first byte and size of each."""
    found, pieces = [], copies._pieces

    def recorded(source, start, size):
        found.append((source.name, start, size))
        return pieces(source, start, size)

    monkeypatch.setattr(copies, "_pieces", recorded)
    return found


KILLED = """
import os, signal, sys
from alexnet_jax.config.recipe import load
from alexnet_jax.data import copies, dataset, publish
copies.THREADS, copies._PIECE, left, pieces = 1, 2**14, [18], copies._pieces
def until_killed(source, start, size):
    for piece in pieces(source, start, size):
        yield piece
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
copies._pieces = until_killed
config = load(sys.argv[2])
config.data.cache_dir, target = sys.argv[3:]
path = dataset.cache_path(config.data)
if sys.argv[1] == "publish":
    publish.publish(path, config.data, target, print)
else:
    config.data.cache_from = target
    publish.fetch(path, config.data, print)
"""


def killed(verb, data, target):
    """Copy 18 pieces of 16 KiB in another process, which then kills itself."""
    args = [sys.executable, "-c", KILLED, verb, str(RECIPES / "tiny.py"), data.cache_dir, str(target)]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def check_rest(reads, index):
    """Check that the largest file was not read again, and that the second one was continued."""
    sizes = {name: size for name, (size, _) in index["files"].items()}
    _, second, *others = sorted(sizes, key=lambda name: -sizes[name])
    read = {name: start for name, start, _ in reads}
    assert read.keys() == {second, *others}
    assert 0 < read[second] < sizes[second]
    assert not any(read[name] for name in others)


def test_a_second_start_copies_only_what_a_killed_one_did_not(data, shared, reads):
    killed("fetch", data, shared)
    assert not cache_path(data).exists()
    lines = []
    open_cache(data, lines.append)
    assert lines[1].startswith("resuming: ")
    check_rest(reads, json.loads(next(shared.glob("*/published.json")).read_text()))
    load(cache_path(data), whole=True)


def test_a_killed_publication_counts_as_missing_and_a_second_call_continues_it(data, tmp_path, reads):
    cache, target = open_cache(data, print).directory, tmp_path / "shared"
    killed("publish", data, target)
    data.cache_dir, data.cache_from = str(tmp_path / "second"), str(target)
    with pytest.raises(UserError, match="has no cache of"):
        open_cache(data, print)
    publish(cache, data, str(target), print)
    check_rest(reads, json.loads(next(target.glob("*/published.json")).read_text()))
    open_cache(data, print)


def test_the_unfinished_copy_of_another_cache_is_deleted(data, shared, tmp_path):
    killed("fetch", data, shared)
    mark = next(cache_path(data).parent.glob("*.copying/copying.json"))
    mark.write_text(mark.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    lines = []
    open_cache(data, lines.append)
    assert not any(line.startswith("resuming") for line in lines)


def test_a_damaged_piece_of_a_killed_copy_is_copied_again(data, shared):
    killed("fetch", data, shared)
    partial = next(cache_path(data).parent.glob("*.copying/*.writing"))
    partial.write_bytes(bytes(len(partial.read_bytes())))
    load(open_cache(data, print).directory, whole=True)


def test_nothing_is_copied_through_a_link(data, shared, tmp_path):
    copying = cache_path(data).with_name(f"{cache_path(data).name}.copying")
    copying.mkdir(parents=True)
    (copying / "train-00000.images.writing").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="is a symbolic link to"):
        open_cache(data, print)
    assert not (tmp_path / "mine").exists()


def test_ctrl_c_keeps_what_was_copied(data, shared, monkeypatch):
    pieces = copies._pieces

    def interrupted(source, start, size):
        found = pieces(source, start, size)
        yield next(found)
        os.kill(os.getpid(), signal.SIGINT)
        for byte in next(found):
            yield bytes([byte])
            time.sleep(0.01)  # until the main thread has received the signal

    with monkeypatch.context() as patched:
        patched.setattr(copies, "_pieces", interrupted)
        patched.setattr(copies, "_PIECE", 2**14)
        patched.setattr(copies, "THREADS", 1)
        with pytest.raises(Interrupted, match="copied so far are kept") as stop:
            open_cache(data, print)
    assert stop.value.status == 130
    lines = []
    open_cache(data, lines.append)
    assert lines[1].startswith("resuming: ")


def test_a_small_disk_is_noticed_first(data, shared, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(2000, 1000, 1000))
    with pytest.raises(
        UserError, match=r"needs [\d,]+ bytes .* has 1 kB free: .*another --config.data.cache_dir"
    ):
        open_cache(data, print)


def test_a_full_disk_ends_in_one_line_and_the_rest_is_copied_later(data, shared, monkeypatch, reads):
    to_disk = copies._to_disk

    def full(source, *args):
        if source.name == "test.labels.npy":
            raise OSError(errno.ENOSPC, "No space left on device", source.name)
        to_disk(source, *args)

    with monkeypatch.context() as patched:
        patched.setattr(copies, "_to_disk", full)
        patched.setattr(copies, "THREADS", 1)
        with pytest.raises(UserError, match=r"the rest of the cache needs [\d,]+ bytes"):
            open_cache(data, print)
    reads.clear()
    open_cache(data, print)
    assert "test.labels.npy" in {name for name, _, _ in reads}
    assert "train-00000.images" not in {name for name, _, _ in reads}


def test_a_full_disk_is_measured_after_the_other_copies_have_ended(data, shared, monkeypatch):
    sizes, to_disk, ended, failed = copies._sizes, copies._to_disk, [], threading.Event()

    def full(source, *args):
        if source.name == "train-00000.images":  # the first, and the longest
            assert failed.wait(30)
            time.sleep(0.2)
            to_disk(source, *args[:-1], lambda copied: None)
            ended.append(source.name)
        elif source.name == "test.labels.npy":
            failed.set()
            raise OSError(errno.ENOSPC, "No space left on device", source.name)

    def measured(directory):
        assert failed.is_set() == bool(ended)
        return sizes(directory)

    monkeypatch.setattr(copies, "_to_disk", full)
    monkeypatch.setattr(copies, "_sizes", measured)
    with pytest.raises(UserError, match=r"the rest of the cache needs [\d,]+ bytes"):
        open_cache(data, print)
    assert ended == ["train-00000.images"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), TimeoutError()])
def test_a_source_that_fails_for_a_while_is_read_again(data, shared, monkeypatch, error):
    pieces, failures, starts = copies._pieces, [error], []
    monkeypatch.setattr(copies, "_PIECE", 2**14)

    def failing(source, start, size):
        if source.name != "train-00000.images":
            yield from pieces(source, start, size)
            return
        starts.append(start)
        for number, piece in enumerate(pieces(source, start, size)):
            if number == 5 and failures:
                raise failures.pop()
            yield piece

    monkeypatch.setattr(copies, "_pieces", failing)
    lines = []
    open_cache(data, lines.append)
    assert sum("train-00000.images: " in line and "trying again in 0 s" in line for line in lines) == 1
    assert starts == [0, 5 * 2**14]


def test_a_source_that_keeps_failing_ends_in_one_line(data, shared, monkeypatch):
    def failing(source, start, size):
        raise OSError(errno.EIO, "Input/output error", str(source))

    with monkeypatch.context() as patched:
        patched.setattr(copies, "_pieces", failing)
        with pytest.raises(RunError) as failure:
            open_cache(data, print)
    assert "Input/output error): what was copied is kept" in str(failure.value)
    open_cache(data, print)


def test_a_file_without_permission_ends_in_one_line_at_once(data, shared, monkeypatch):
    def refused(source, start, size):
        raise PermissionError(errno.EACCES, "Permission denied", str(source))

    monkeypatch.setattr(copies, "_pieces", refused)
    lines = []
    with pytest.raises(UserError, match=r"can't be copied from \S+ \(\S+: Permission denied\)"):
        open_cache(data, lines.append)
    assert len(lines) == 1
    assert not cache_path(data).exists()


def test_one_of_two_processes_copies_and_the_other_waits(data, shared, monkeypatch, reads):
    path, waits, lines = cache_path(data), threading.Event(), []
    copy = copies.copy

    def slow(*args):
        assert waits.wait(60)
        copy(*args)

    def busy(line):
        lines.append(line)
        waits.set()

    monkeypatch.setattr(copies, "copy", slow)
    first = threading.Thread(target=fetch, args=(path, data, lambda line: started.set()))
    started = threading.Event()
    first.start()
    assert started.wait(60)
    fetch(path, data, busy)
    first.join()
    assert lines == [f"another process is copying or preparing {path}: waiting for it"]
    assert len(reads) == len({name for name, _, _ in reads})


def test_of_two_that_publish_one_waits_and_then_has_nothing_to_do(data, tmp_path, monkeypatch):
    cache, target, waits, lines = (
        open_cache(data, print).directory,
        tmp_path / "shared",
        threading.Event(),
        [],
    )
    copy = copies.copy

    def slow(*args):
        assert waits.wait(60)
        copy(*args)

    def busy(line):
        lines.append(line)
        waits.set()

    monkeypatch.setattr(copies, "copy", slow)
    started = threading.Event()
    first = threading.Thread(target=publish, args=(cache, data, str(target), lambda line: started.set()))
    first.start()
    assert started.wait(60)
    publish(cache, data, str(target), busy)
    first.join()
    place = target / cache.name
    assert lines == [
        f"another process is publishing in {place}: waiting for it",
        f"nothing to publish: {place} has this cache already",
    ]


def test_nothing_is_copied_from_a_path_that_only_a_workdir_names(data, shared, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    info = open_cache(data, print).info
    data.cache_dir = None
    with pytest.raises(NoImages):
        open_cache_of(data, info, {}, print)
    with pytest.raises(NoImages):
        open_cache_of(data, info, {"cache_from": str(shared)}, print, may_build=False)
    other = dataclasses.replace(info, fingerprint="other")
    with pytest.raises(UserError, match=r"than the run began with .other."):
        open_cache_of(data, other, {"cache_from": str(shared)}, print)
    cache = open_cache_of(data, info, {"cache_from": str(shared)}, print)
    assert cache.info.fingerprint == info.fingerprint


def test_prepare_publishes_and_copies(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path / "first")
    tiny.data.cache_from = str(tmp_path / "shared")
    lines = []
    first = prepare(tiny, say=lines.append, publish=str(tmp_path / "shared"))
    assert lines[-1] == f"published: other hosts copy it with --config.data.cache_from={tmp_path}/shared"
    lines.clear()
    prepare(tiny, say=lines.append, publish=str(tmp_path / "shared"))
    assert lines == [f"nothing to publish: {tmp_path}/shared/{first.directory.name} has this cache already"]
    tiny.data.cache_dir = str(tmp_path / "second")
    lines.clear()
    second = prepare(tiny, say=lines.append)
    assert second.info.fingerprint == first.info.fingerprint
    (second.directory / "data.json").write_text("{")
    prepare(tiny, force=True, say=lines.append)
    assert [line.partition(" ")[0] for line in lines] == ["copying", "copying"]
    assert prepare(tiny, say=lines.append).info.fingerprint == first.info.fingerprint
    assert lines[-1] == "nothing to prepare: the cache exists, and every checksum is right"


def test_a_place_that_cannot_be_written_is_refused_before_the_cache_is_built(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path / "first")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"--publish=.*/file/caches can't be created .*Not a directory"):
        prepare(tiny, publish=str(tmp_path / "file" / "caches"))
    assert not (tmp_path / "first").exists()


def test_a_run_copies_its_cache_and_refuses_another_one(tmp_path, capfd):
    def run(verb, *words):
        return main([verb, *words])

    recipe, shared = f"--config={RECIPES / 'tiny.py'}", tmp_path / "shared"
    first, second = (f"--config.data.cache_dir={tmp_path / name}" for name in ("first", "second"))
    origin, workdir = f"--config.data.cache_from={shared}", f"--workdir={tmp_path / 'run'}"
    assert run("prepare", recipe, first, f"--publish={shared}") == 0
    assert run("train", recipe, second, origin, workdir) == 0
    assert "copying " in capfd.readouterr().out
    shutil.rmtree(tmp_path / "second")
    assert run("evaluate", workdir, second, origin) == 0
    shutil.rmtree(tmp_path / "second")
    index = next(shared.glob("*/published.json"))
    index.write_text(json.dumps(json.loads(index.read_text()) | {"fingerprint": "other"}))
    capfd.readouterr()
    assert run("train", recipe, second, origin, workdir) == 2
    assert "holds other images (other) than the run began with" in capfd.readouterr().err
