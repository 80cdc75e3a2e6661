"""Walk over folders of images, and record what is left out and why."""

import collections
import heapq
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from alexnet_jax.data import class_words
from alexnet_jax.data.images import NO_FILE, SUFFIXES, missing_decoder
from alexnet_jax.errors import UserError

ImageFile: TypeAlias = tuple[str, int, int]
"""The path of a file, its size in bytes, and its modification time in nanoseconds."""

_HIDDEN = "hidden files and folders"
_OF_SYSTEMS = "folders that systems make for themselves"
_OTHER = "files that are not images"

_SYSTEM_FOLDERS = frozenset(
    [
        "$recycle.bin", "system volume information",  # Windows
        "__macosx", "lost+found", "__pycache__",
        "@eadir", "#recycle", "#snapshot", "@tmp", "@recycle", "@recently-snapshot",  # NAS: Synology, QNAP
    ]
)  # fmt: skip


class Walk:
    """A walk over the folders below a root. Hidden files and folders, and those of systems, are left out.

    Args:
      root: absolute path of the root.
      decodable: whether to leave out files whose decoder is missing.
    """

    def __init__(self, root: str, decodable: bool = True) -> None:
        self.root = root
        self._decodable = decodable
        self._real_root = os.path.realpath(root)
        self._left_out: dict[str, set[str]] = collections.defaultdict(set)
        self._other: dict[str, set[str]] = collections.defaultdict(set)  # by suffix
        self._links_out: set[str] = set()

    def leave_out(self, reason: str, paths: Iterable[str]) -> None:
        """Record paths that the caller leaves out."""
        self._left_out[reason].update(paths)

    def left_out(self) -> dict[str, list[str]]:
        """Return the sorted names of everything left out so far, relative to the root, by reason."""
        reasons = dict(self._left_out)
        if self._other:
            by_count = sorted(self._other.items(), key=lambda item: (-len(item[1]), item[0]))
            kinds = [f"{len(paths):,} {suffix or 'without a suffix'}" for suffix, paths in by_count]
            more = f", {len(kinds) - 5:,} other suffixes" if len(kinds) > 5 else ""
            reasons[f"{_OTHER} ({', '.join(kinds[:5])}{more})"] = set().union(*self._other.values())
        return {reason: sorted(map(self._short, paths)) for reason, paths in reasons.items() if paths}

    def links_out(self) -> list[str]:
        """Return the sorted names of the links that lead out of the root, relative to the root."""
        return sorted(map(self._short, self._links_out))

    def inside(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the sorted paths of the folders and of the image files that lie directly in a folder."""
        folders: list[str] = []
        images: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = _is_folder(entry)
                if not self._is_left_out(entry, is_folder):
                    (folders if is_folder else images).append(entry.path)
        return sorted(folders), sorted(images)

    def images(self, starts: Iterable[str], above: Iterable[str] = ()) -> dict[str, list[ImageFile]]:
        """Return the sorted image files below each of some folders.

        Links are followed. A folder to which several paths lead is read once: for the start that contains it
        or, if none does, for the start with the shortest path to it. The result includes files that can't be
        read, so that they are reported.

        Args:
          starts: the folders.
          above: folders that contain them, to which a link may lead back.

        Raises:
          UserError: one of the folders is the same as another one, or lies below it.
          OSError: a folder can't be read.
        """
        found: dict[str, list[ImageFile]] = {start: [] for start in starts}
        seen = {_identity(path): path for path in above}
        folders = [(start, start) for start in found if not os.path.islink(start)]  # noqa: PTH114 (a million files)
        links = [(len(start), start, start) for start in found if os.path.islink(start)]  # noqa: PTH114
        heapq.heapify(links)
        while folders or links:
            folder, start = folders.pop() if folders else heapq.heappop(links)[1:]
            here = _identity(folder)
            if here in seen:
                if folder == start:
                    raise UserError(
                        f"config.data.source: {folder} is the same folder as {seen[here]}, but an image has"
                        " only one class: remove one of them"
                    )
                continue
            seen[here] = folder
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_folder = _is_folder(entry)
                    if self._is_left_out(entry, is_folder):
                        continue
                    if not is_folder:
                        found[start].append((entry.path, *_status(entry)[1:]))
                    elif entry.is_symlink():
                        heapq.heappush(links, (len(entry.path), entry.path, start))
                    else:
                        folders.append((entry.path, start))
        return {start: sorted(images) for start, images in found.items()}

    def _short(self, path: str) -> str:
        return path[len(self.root) + 1 :]

    def _is_left_out(self, entry: os.DirEntry[str], is_folder: bool) -> bool:
        """Return whether an entry is left out, and record it. Also record a link out of the root."""
        suffix = _suffix(entry.name)
        if entry.name.startswith("."):
            self._left_out[_HIDDEN].add(entry.path)
        elif is_folder and _is_of_a_system(entry.name):
            self._left_out[_OF_SYSTEMS].add(entry.path)
        elif not is_folder and suffix not in SUFFIXES:
            if entry.name not in class_words.FILES:
                self._other[suffix].add(entry.path)
        elif not is_folder and self._decodable and (reason := missing_decoder(suffix)):
            self._left_out[reason].add(entry.path)
        else:
            if entry.is_symlink() and self._leads_out(entry.path):
                self._links_out.add(entry.path)
            return False
        return True

    def _leads_out(self, link: str) -> bool:
        """Return whether the target of a link, as it is written there, lies outside the root."""
        target = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))  # noqa: PTH115, PTH118, PTH120
        return not any(f"{target}/".startswith(f"{top}/") for top in (self.root, self._real_root))


def image_files(folder: str) -> list[str]:
    """Return the sorted paths of the image files below a folder, also of those whose decoder is missing.

    Raises:
      OSError: a folder can't be read.
    """
    return [path for path, *_ in Walk(folder, decodable=False).images([folder])[folder]]


def named_images(paths: Iterable[str | os.PathLike[str]], complain: Callable[[str], None]) -> Iterator[str]:
    """Yield the files that a user names, and the image files in the folders that the user names.

    Args:
      paths: files, which need not exist, and folders.
      complain: function that takes a line about each folder that can't be read or has no images.
    """
    for path in (os.fspath(path) for path in paths):
        if not os.path.isdir(path):  # noqa: PTH112 (which has no error for any name)
            yield path
            continue
        try:
            found = image_files(path)
        except OSError as error:
            complain(f"{error.filename} can't be read: {error.strerror}")
            continue
        if not found:
            complain(f"{path} has no images")
        yield from found


def holds_images(folder: str) -> bool:
    """Return whether there is an image file below a folder, even if its decoder is missing."""
    folders, seen = [folder], set()
    while folders:
        here = folders.pop()
        if (identity := _identity(here)) in seen:
            continue
        seen.add(identity)
        inside, has_images = _look(here)
        if has_images:
            return True
        folders += inside
    return False


def image_folders(folder: str) -> tuple[set[str], bool]:
    """Return the names of the folders in a folder that hold images, and whether images lie directly in it."""
    inside, has_images = _look(folder)
    return {os.path.basename(each) for each in inside if holds_images(each)}, has_images  # noqa: PTH119


def _look(folder: str) -> tuple[list[str], bool]:
    """Return the folders in a folder, and whether it holds an image file."""
    folders, has_images = [], False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                has_images |= _suffix(entry.name) in SUFFIXES
            elif not _is_of_a_system(entry.name):
                folders.append(entry.path)
    return folders, has_images


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (a million files)


def _is_of_a_system(name: str) -> bool:
    return name.casefold() in _SYSTEM_FOLDERS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink():
        return stat.S_ISDIR(_status(entry)[0])
    return entry.is_dir(follow_symlinks=False)


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _status(entry: os.DirEntry[str]) -> tuple[int, int, int]:
    """Return the mode, the size and the time of a file; zeros for a link that leads nowhere."""
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return 0, 0, 0
    return status.st_mode, status.st_size, status.st_mtime_ns
