"""The exceptions that end a command with one line instead of a traceback."""

import signal


class UserError(Exception):
    """Something a user can put right: the message says what is wrong and what would be right."""

    status = 2


class RunError(Exception):
    """A run that can't go on, through nobody's typing: the message says what happened and what is kept."""

    status = 1


class Interrupted(Exception):
    """A run that was asked to stop, and has saved."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(f"{signal.Signals(signum).name}: {message}")
        self.status = 128 + signum
