"""The worker processes that write the shards of a cache, and their progress bar."""

import contextlib
import multiprocessing
import pickle
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection, wait
from types import ModuleType

from alexnet_jax import files
from alexnet_jax.data.shards import Part, Work
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.runtime import progress
from alexnet_jax.runtime.limits import cores
from alexnet_jax.text import size_in_words

_JPEG_BYTES_A_PIXEL = 0.6  # at `images.QUALITY`; photographs of 256x256 need 0.5 on average
_LAST_IMAGE = 30.0  # seconds in which the workers can finish their current images
_REPORT = 0.1  # least seconds between two reports of a worker, which cost the parent's time
_WORTH_A_PROCESS = 2**24  # bytes of raw pixels that justify another process


def write_shards(work: Work, max_broken: float, say: Callable[[str], None]) -> None:
    """Write the shards that are missing.

    Args:
      work: shards to write.
      max_broken: ``config.data.max_broken``.
      say: function that takes a line for the user.

    Raises:
      UserError: more images are broken than ``max_broken`` allows, or the disk has too little space.
      RunError: a worker process was killed.
    """
    parts = work.parts()
    total = sum(len(part.examples) for part in parts)
    before = {part: shard for part in parts if (shard := work.written(part)) is not None}
    broken = [line for shard in before.values() for line in shard.broken]
    if len(broken) > max_broken * total:  # refused before, and perhaps repaired: read their shards again
        (work.building / "broken.txt").unlink(missing_ok=True)
        before, broken = {part: shard for part, shard in before.items() if not shard.broken}, []
    missing = [part for part in parts if part not in before]
    done = sum(len(part.examples) for part in before)
    if done:
        say(f"resuming: {done:,} of {total:,} images are prepared")
    _check_broken(work, broken, total, max_broken)
    _check_room(work, total - done)
    with (
        progress.Long(done, total, "image", say) as bar,
        contextlib.closing(_results(work, missing, bar.add)) as results,
    ):
        for found in results:
            if found:
                broken += found
                _check_broken(work, broken, total, max_broken)


def _results(
    work: Work, missing: list[Part], add: Callable[[int], None]
) -> Generator[tuple[str, ...], None, None]:
    """Write the shards and yield the broken images of each. ``add`` receives the number of images done."""
    raw_bytes = sum(len(part.examples) for part in missing) * 3 * work.image_size**2
    processes = min(cores(), len(missing), raw_bytes // _WORTH_A_PROCESS)
    if processes < 2:
        for part in missing:
            yield work.write(part, lambda: add(1)).broken
        return
    with _workers(work, processes) as connections:
        waiting = missing[::-1]
        busy = set(connections)
        for connection in busy:
            _send(connection, pickle.dumps(waiting.pop()))
        while busy:
            for connection in busy.intersection(wait(list(busy))):
                received = _receive(connection)
                if isinstance(received, int):
                    add(received)
                    continue
                yield received
                if waiting:
                    _send(connection, pickle.dumps(waiting.pop()))
                else:
                    busy.remove(connection)


def _send(connection: Connection, pickled: bytes) -> None:
    with _noticing_the_end():
        connection.send_bytes(pickled)


def _receive(connection: Connection) -> int | tuple[str, ...]:
    """Return what a worker sent: a number of images, or the broken images of a shard. Raise its error."""
    with _noticing_the_end():
        received: int | tuple[str, ...] | Exception = connection.recv()
    if isinstance(received, Exception):
        raise received
    return received


@contextlib.contextmanager
def _noticing_the_end() -> Iterator[None]:
    """Raise a `RunError` of one line if the worker at the other end of a connection has ended."""
    try:
        yield
    except (EOFError, OSError) as error:
        raise RunError(
            "a process that prepared images ended unexpectedly, perhaps because memory ran out:"
            " run the same command again to continue"
        ) from error


@contextlib.contextmanager
def _workers(work: Work, count: int) -> Iterator[list[Connection]]:
    """Start processes that write shards, and end them afterwards. Yield a connection to each.

    They share no lock: a process that is killed while it holds one would stop the others.
    """
    context = multiprocessing.get_context("spawn")  # a forked copy of a process that runs JAX may hang
    pairs = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=_serve, args=(theirs,), daemon=True) for _, theirs in pairs]
    try:
        with _start_workers():
            for process, (_, theirs) in zip(processes, pairs, strict=True):
                process.start()
                theirs.close()
        # Not as an argument, 80 MB for ImageNet: `start` would wait for each worker to read it, and forever
        # for one that is killed meanwhile.
        content = pickle.dumps(work)
        for ours, _ in pairs:
            _send(ours, content)
        yield [ours for ours, _ in pairs]
    finally:
        for ours, theirs in pairs:
            ours.close()  # a worker stops at its next report: after 0.1 s and one image at most
            theirs.close()
        deadline = time.monotonic() + _LAST_IMAGE
        for process in processes:
            if process.pid is not None:
                process.join(max(0.0, deadline - time.monotonic()))
                process.kill()
                process.join()


@contextlib.contextmanager
def _start_workers() -> Iterator[None]:
    """Start processes inside that ignore signals to stop, and that do not import the user's script.

    Ctrl-C reaches all processes of a terminal, but only the parent decides what to do. The workers need
    nothing from ``__main__``, which may be a script without ``if __name__ == "__main__"``.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)


def _serve(connection: Connection) -> None:
    """Write the shards that arrive. Send numbers of images begun, then the broken images, or an error."""
    unsent, last_sent = 0, time.monotonic()

    def send_unsent() -> None:
        nonlocal unsent, last_sent
        connection.send(unsent)
        unsent, last_sent = 0, time.monotonic()

    def count_one() -> None:  # before each image
        nonlocal unsent
        unsent += 1
        if time.monotonic() - last_sent > _REPORT:
            send_unsent()

    with contextlib.suppress(EOFError, ConnectionError):  # the parent has ended, or needs no more shards
        work = connection.recv()
        while True:
            part = connection.recv()
            try:
                broken = work.write(part, count_one).broken
                send_unsent()
                connection.send(broken)
            except Exception as error:  # the parent raises it
                connection.send(_sendable(error))


def _sendable(error: Exception) -> Exception:
    """Return an error that can be pickled, with the traceback as a note."""
    note = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a library's error raises
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error


def _check_broken(work: Work, broken: list[str], total: int, max_broken: float) -> None:
    """Write the names of the broken images to a file.

    Raises:
      UserError: too many images are broken.
    """
    if not broken:
        return
    path = work.building / "broken.txt"
    files.write(path, "".join(f"{line}\n" for line in sorted(broken)).encode())
    if len(broken) > max_broken * total:
        higher = min(0.99, max(0.1, 2 * max_broken, 2 * len(broken) / total))
        raise UserError(
            f"so far, {len(broken):,} of {total:,} images can't be read, more than config.data.max_broken ="
            f" {max_broken:g} allows (for example {sorted(broken)[0]}): repair or remove the images that"
            f" {path} lists, or allow more with --config.data.max_broken={higher:.2g}, and run the same"
            " command again to continue"
        )


def _check_room(work: Work, images: int) -> None:
    """Check that the disk has space for more images.

    Raises:
      UserError: it has too little.
    """
    a_pixel = 3.0 if work.encoding == "raw" else _JPEG_BYTES_A_PIXEL
    needed, free = images * work.image_size**2 * a_pixel, shutil.disk_usage(work.building).free
    if needed > free:
        raise UserError(
            f"the cache needs {size_in_words(needed)}, but {work.building.parent} has {size_in_words(free)}"
            " free: free some space, or take another --config.data.cache_dir"
        )
