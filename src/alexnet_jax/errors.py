"""The exceptions that end a command with one line instead of a traceback, and what such lines share."""

import difflib
import signal
from collections.abc import Collection

PREFIX = "alexnet-jax: "
"""The beginning of each line in which a command reports a problem on standard error."""

NOTE = f"{PREFIX}note: "
"""The beginning of such a line if the command is not at fault."""

RESUME = "; resume with: "
"""What separates the problem from the command that resumes an interrupted one."""


class UserError(Exception):
    """Report what the user can correct: the message says what is wrong and what would be right."""

    status = 2


class RunError(Exception):
    """Report that a run can't continue: the message says what happened and what is kept."""

    status = 1


class Interrupted(Exception):
    """Report that a run was asked to stop and has saved."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(f"{signal.Signals(signum).name}: {message}")
        self.status = 128 + signum


def near(name: str, known: Collection[str]) -> str:
    """Suggest the known names that are most like a name, in parentheses for the end of a message."""
    close = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
