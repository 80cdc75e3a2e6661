"""Agree on the step after which all processes of a run stop.

A process that was asked to stop tells process 0, which asks all processes for their last step. Each answers
from the thread of `peers`, and goes to no other step until process 0 has chosen one that none has passed.
JAX's preemption service does the same. But by its source (XLA's ``preemption_sync_manager.cc``) it only logs
a failed request: then no process stops.
"""

import collections
import dataclasses
import json
import threading
from collections.abc import Callable

PREFIX = b"stop "
"""Begins the lines that processes send one another for this."""


@dataclasses.dataclass
class _Run:
    """One run of the training loop.

    Attributes:
      last: last step of this process; -1 before it has called `StoppingStep.stop_after`.
      is_held: whether this process has answered, and waits for the choice.
      signum: the signal that asks to stop; None if there is none.
      answers: last steps of the processes that have answered, by number; only on process 0.
      choice: the step after which all stop; None if none is chosen.
    """

    last: int = -1
    is_held: bool = False
    signum: int | None = None
    answers: dict[int, int] = dataclasses.field(default_factory=dict)
    choice: int | None = None


class StoppingStep:
    """The step after which all processes stop.

    Args:
      number: number of this process.
      count: number of processes.
      send: function that sends a line to process 0 or, on process 0, to all others.
    """

    def __init__(self, number: int, count: int, send: Callable[[bytes], None]) -> None:
        self._number, self._count, self._send = number, count, send
        self._changed = threading.Condition()
        # By number, because a line may arrive before this process has begun the run that it is about.
        self._runs: dict[int, _Run] = collections.defaultdict(_Run)
        self._current = 0
        self._has_asked = False

    def begin(self) -> None:
        """Begin a run. All processes begin the same runs in the same order."""
        self._current += 1
        self._has_asked = False

    def stop_after(self, step: int, received: int | None) -> int | None:
        """Return the signal that asks all processes to stop after this step; None to continue.

        All processes call this with the same steps, in order.

        Args:
          step: the step.
          received: the signal that this process has received; None if there is none.
        """
        if received is not None and not self._has_asked:
            self._has_asked = True
            if self._number == 0:
                self._ask_all(self._current, received)
            else:
                self._tell(self._current, "ask", received)
        with self._changed:
            run = self._runs[self._current]
            self._changed.wait_for(lambda: not run.is_held)
            run.last = step
            return run.signum if run.choice is not None and step >= run.choice else None

    def read(self, peer: int, line: bytes) -> None:
        """Act on a line from another process.

        Raises:
          ValueError: it can't be read.
        """
        number, what, *values = json.loads(line.removeprefix(PREFIX))
        run = self._runs[number]
        match what, values:
            case "ask", [int(signum)]:
                self._ask_all(number, signum)
            case "hold", []:
                with self._changed:
                    run.is_held = True
                self._tell(number, "last", run.last)
            case "last", [int(step)]:
                run.answers[peer] = step
                if len(run.answers) == self._count and run.signum is not None:
                    step = max(run.answers.values()) + 1
                    self._tell(number, "choice", step, run.signum)
                    self._choose(number, step, run.signum)
            case "choice", [int(step), int(signum)]:
                self._choose(number, step, signum)
            case _:
                raise ValueError(line)

    def _ask_all(self, number: int, signum: int) -> None:
        """Ask all processes for their last steps, on process 0."""
        with self._changed:
            run = self._runs[number]
            if run.signum is not None:
                return
            run.signum, run.is_held, run.answers[0] = signum, True, run.last
        self._tell(number, "hold")

    def _choose(self, number: int, step: int, signum: int) -> None:
        with self._changed:
            run = self._runs[number]
            run.choice, run.signum, run.is_held = step, signum, False
            self._changed.notify_all()

    def _tell(self, number: int, what: str, *values: int) -> None:
        self._send(PREFIX + json.dumps([number, what, *values]).encode() + b"\n")
