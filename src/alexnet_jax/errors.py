"""The exceptions that end a command with one line instead of a traceback, and the parts of that line."""

import difflib
import re
import signal
from collections.abc import Collection, Iterator

PREFIX = "alexnet-jax: "
"""The prefix of each line on standard error in which a command reports a problem."""

NOTE = f"{PREFIX}note: "
"""The prefix of a note: a line that reports no problem of the command."""

RESUME = "; resume with: "
"""The text between the reason of an interruption and the command that resumes the run."""

LACKS_MEMORY = "memory or threads have run out: end other programs, or raise the limit (ulimit, or the job's)"
"""The message if the machine, or a limit on the process, does not suffice."""

# Python's, the dynamic linker's and the system's words for it.
_NO_MEMORY = re.compile("failed to map segment|cannot allocate memory|can't start new thread", re.IGNORECASE)


class UserError(Exception):
    """An error that the user can correct. The message says what is wrong and what would be right."""

    status = 2


class RunError(Exception):
    """An error that ends a run. The message says what happened and what is kept."""

    status = 1


class BucketError(OSError):
    """A bucket refuses a request, or has not answered before the time limit."""


class LostProcess(RunError):
    """Another process of the run is lost. To resume, start the same command on all hosts."""

    status = 75  # EX_TEMPFAIL of sysexits.h: try again


class Stopped(RunError):
    """A step, the loader or a writer of the run has stopped. To resume, start the same command again."""

    status = LostProcess.status


class Interrupted(Exception):
    """The end of a run that was asked to stop, after it has saved."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(f"{signal.Signals(signum).name}: {message}")
        self.status = 128 + signum


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, then the one that caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error, or its cause, is that memory or threads have run out."""
    return any(isinstance(each, MemoryError) or _NO_MEMORY.search(str(each)) for each in causes(error))


def near(name: str, known: Collection[str]) -> str:
    """Return a suggestion for a message, `` (did you mean NAME?)``; empty if no known name is similar."""
    close = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def reason(error: Exception) -> str:
    """Return an error of the system, a library or a server in one line."""
    return (
        getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(".") or type(error).__name__
    )
