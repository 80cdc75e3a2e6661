"""The command line: ``alexnet-jax VERB``, its exit status, and errors as one line."""

import gc
import importlib.metadata
import io
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Sequence

from absl import logging

from alexnet_jax.cli.verbs import USAGE, VERBS
from alexnet_jax.errors import Interrupted, RunError, UserError, near
from alexnet_jax.runtime import compile_cache, jax_compat


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb; returns the exit status. An error a user can cause is one line on standard error."""
    args = list(sys.argv[1:] if argv is None else argv)
    logging.set_verbosity(logging.FATAL)  # the libraries' own warnings; ours are lines of the log
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of files' names that are no text
    try:
        if not args or args[0] in ("--help", "-h", "help"):
            print(USAGE, flush=True)
            return 0 if args else 2
        if args[0] == "--version":
            print(f"alexnet-jax {importlib.metadata.version('alexnet-jax')}", flush=True)
            return 0
        if args[0] not in VERBS:
            raise UserError(f"no verb {args[0]}{near(args[0], VERBS)}; there are {', '.join(VERBS)}")
        jax_compat.check_release()
        compile_cache.use()
        gc.set_threshold(100_000)  # for good: a start makes half a million objects, a step next to none
        status = VERBS[args[0]](args[1:]) or 0
        print(end="", flush=True)
        return status
    except (UserError, RunError) as error:
        status, message = error.status, str(error)
    except Interrupted as error:  # on all processes alike
        if _is_first():
            print(f"alexnet-jax: {error}; go on with: alexnet-jax {shlex.join(args)}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        status, message = 130, "stopped"
    except BrokenPipeError:  # as with `| head`: not ours to complain of
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
        status, message = 128 + signal.SIGPIPE, ""
    except OSError as error:
        status, message = 1, f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    except SystemExit as done:  # --help
        return int(done.code or 0)
    except Exception as error:
        if not _several():
            raise
        status, message = 1, f"{type(error).__name__}: {error}"
        if "Gloo context initialization failed" in message:  # what can't be waited for longer
            message = f"another process did not come to an exchange within 30 s ({message[:200]})"
        elif "Gloo" in message:  # which a peer that is gone makes of any exchange
            message = f"another process is gone ({message[:200]}); start all again, and they go on"
        else:
            traceback.print_exc()
    if message:
        print(f"alexnet-jax: {' '.join(message.split())}", file=sys.stderr)
    if _several():
        # At a usual exit JAX waits for every process to come to its end: the others would wait for us. The
        # first one, in which the coordinator lives, lets those that fail for the same reason go before it.
        sys.stderr.flush()
        time.sleep(2 if _is_first() else 0)
        os._exit(status)
    return status


def _several() -> bool:
    """Whether this is one of several processes."""
    jax = sys.modules.get("jax")  # not imported for what does without it
    return jax is not None and jax.distributed.is_initialized()


def _is_first() -> bool:
    return not _several() or jax_compat.process_index() == 0
