"""The command ``alexnet-jax VERB``, or ``python -m alexnet_jax VERB``."""

import signal
import sys

from alexnet_jax.runtime import huge_pages


def run() -> int:
    """Run `cli.main` in a process that has asked for huge pages."""
    huge_pages.ask()
    try:
        from alexnet_jax.cli.main import main

        status = main()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as Python ends, Ctrl-C would print a traceback
        return status
    except KeyboardInterrupt:  # while the modules are being imported
        print("alexnet-jax: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())
