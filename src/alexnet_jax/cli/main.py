"""The command line: ``alexnet-jax VERB``, its exit status, and errors as one line."""

import contextlib
import errno
import gc
import importlib.metadata
import io
import logging as python_logging
import os
import re
import shlex
import signal
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Sequence

from absl import logging

from alexnet_jax.cli.flags import RECIPES
from alexnet_jax.cli.verbs import VERBS
from alexnet_jax.errors import LACKS_MEMORY, RESUME, Interrupted, RunError, UserError, lacks_memory, near
from alexnet_jax.parallel import peers, rendezvous
from alexnet_jax.runtime import compile_cache, jax_compat, launchers, progress
from alexnet_jax.training import orbax_log


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return its exit status. An error that a user can cause is one line on standard error."""
    args = list(sys.argv[1:] if argv is None else argv)
    logging.set_verbosity(logging.FATAL)  # hides the libraries' warnings; ours are lines of the log
    for library in ("asyncio", "matplotlib"):
        python_logging.getLogger(library).setLevel(python_logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)  # if Orbax fails
    warnings.filterwarnings("ignore", "tqdm:disabling monitor")  # if no thread can be started
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for file names that can't be encoded
    try:
        with orbax_log.quiet(), _ending_if_stopped():
            return _run(args)
    except SystemExit as done:  # --help
        return int(done.code or 0)
    except Interrupted as error:  # in all processes, at the same step
        if peers.is_first():
            progress.complain(f"{error}{RESUME}alexnet-jax {shlex.join(args)}")
        peers.leave()
        return error.status
    except BaseException as error:
        known = _explain(error)
        if known is None:
            if peers.several():
                if isinstance(error, sys.modules["jax"].errors.JaxRuntimeError):
                    peers.wait_for_loss()  # a collective fails if another process is gone
                traceback.print_exc()
            else:
                raise
        status, message = known or (1, f"{type(error).__name__}: {error}")
    peers.end(status, message)
    if message:
        progress.complain(re.sub(r"\s*\n\s*", " ", message.strip()))
    if status == UserError.status and launchers.is_one_of_several():
        rendezvous.refuse(message)
    return status


@contextlib.contextmanager
def _ending_if_stopped() -> Iterator[None]:
    """End the process if a signal arrives where Python ignores exceptions, as in a callback of its GC."""
    before = sys.unraisablehook

    def hook(event: "sys.UnraisableHookArgs") -> None:
        if isinstance(event.exc_value, KeyboardInterrupt | Interrupted):
            status, message = _explain(event.exc_value) or (130, str(event.exc_value))
            progress.complain(message)
            os._exit(status)
        before(event)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _run(args: list[str]) -> int:
    if not args or args[0] in ("--help", "-h", "help"):
        progress.show(_usage())
        return 0 if args else 2
    verb, *rest = args
    if verb == "--version":
        progress.show(f"alexnet-jax {importlib.metadata.version('alexnet-jax')}")
        return 0
    if verb not in VERBS:
        raise UserError(f"no verb {verb}{near(verb, VERBS)}: the verbs are {', '.join(VERBS)}")
    jax_compat.check_release()
    compile_cache.use()
    gc.set_threshold(100_000)  # permanently: a start makes half a million objects, a step almost none
    return VERBS[verb].run(rest) or 0


def _usage() -> str:
    verbs = "\n".join(f"{name:10}{verb.USAGE}".replace("\n", f"\n{'':10}") for name, verb in VERBS.items())
    lines = (
        "usage: alexnet-jax VERB [--flag=value ...]",
        *("", textwrap.indent(verbs, "  "), "", RECIPES, ""),
        "alexnet-jax VERB --help lists the flags and the settings of a verb.",
    )
    return re.sub(" +\n", "\n", "\n".join(lines))


def _explain(error: BaseException) -> tuple[int, str] | None:
    """Return the exit status and the message of an error; None if the error is a bug."""
    match error:
        case UserError() | RunError():
            return error.status, str(error)
        case KeyboardInterrupt():
            return 130, "stopped"
        case BrokenPipeError():  # as with `| head`: nothing to report
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
            return 128 + signal.SIGPIPE, ""
        case IsADirectoryError() if error.filename:
            return UserError.status, f"{error.filename} is a folder, but must be a file: remove it"
        case MemoryError() | ImportError() | RuntimeError() | OSError() if lacks_memory(error):
            return RunError.status, LACKS_MEMORY
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return RunError.status, f"{error.strerror}: raise the limit with ulimit -n 4096"
        case OSError():
            return 1, f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    if "jax" in sys.modules:
        from alexnet_jax.runtime import device_errors  # imports JAX

        if line := device_errors.explain(error):
            return RunError.status, line
    return None
