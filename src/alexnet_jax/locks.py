"""Locks that the system takes back from a process that dies."""

import contextlib
import errno
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

_NO_LOCKS = frozenset([errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])  # of some network file systems


@contextlib.contextmanager
def locked(path: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Holds an advisory lock; where the file system has none, nothing.

    Args:
      path: of its file, which stays.
      busy: is called if another process holds it; then it is waited for, unless that raises.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
