"""The command ``alexnet-jax VERB``, or ``python -m alexnet_jax VERB``."""

import os
import sys

TYPE_CHECKING = False  # until `_leave_current_folder`, a file there may replace any module that is imported
if TYPE_CHECKING:
    from types import FrameType


def _stop(signum: int, frame: "FrameType | None") -> None:
    """Raise KeyboardInterrupt; in an import, where extension modules fail at exceptions, end the process."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            try:
                os.write(2, b"alexnet-jax: stopped\n")
            finally:
                os._exit(128 + signum)
        frame = frame.f_back
    raise KeyboardInterrupt


def _leave_current_folder() -> None:
    """Import nothing from the current folder, in this process and in those that it starts.

    ``python -m`` searches it first, so that a file ``queue.py`` there would replace Python's own module.
    """
    try:
        here = os.getcwd()  # noqa: PTH109
    except FileNotFoundError:  # it was deleted
        return
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if package != here:
        os.environ["PYTHONSAFEPATH"] = "1"
        sys.path[:1] = [path for path in sys.path[:1] if path not in ("", here)]


def _open_standard_streams() -> None:
    """Open ``/dev/null`` in place of closed standard streams, or the next file would get their number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode))  # noqa: PTH123, SIM115
            setattr(sys, f"__{name}__", getattr(sys, name))


def run() -> int:
    """Run `cli.main` in a process that has asked for huge pages."""
    try:
        _leave_current_folder()
        import signal

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it is ignored
            signal.signal(signal.SIGINT, _stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # see `huge_pages.ask`
        _open_standard_streams()
        from alexnet_jax.runtime import huge_pages

        huge_pages.ask()
        from alexnet_jax.cli.main import main

        status = main()
        if status and "orbax" in sys.modules:
            # If a checkpoint has failed, Orbax's threads wait for minutes, and print tracebacks at the end.
            try:
                sys.stdout.flush()
            finally:
                os._exit(status)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as Python ends, Ctrl-C would print a traceback
        return status
    except KeyboardInterrupt:  # outside `main`
        print("alexnet-jax: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())
