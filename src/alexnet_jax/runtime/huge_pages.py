"""Memory in huge pages. glibc uses them only if the environment asks for them before a process starts.

On a CPU, XLA allocates memory in every step. With pages of 4 kB, the first access to each page took a fifth
of a step of the paper's network (docs/notebook.md).
"""

import os
import signal
import sys

TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def ask() -> None:
    """Restart this program once, with an environment that asks for huge pages.

    ``GLIBC_TUNABLES=glibc.malloc.hugetlb=0`` prevents the restart and the huge pages. C libraries other than
    glibc ignore the variable.
    """
    tunables = os.environ.get(TUNABLES, "")
    if sys.platform != "linux" or HUGE in tunables:
        return
    # Ctrl-C waits while Python starts again, which would print a traceback; `__main__` unblocks it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    os.environ[TUNABLES] = ":".join(filter(None, [tunables, f"{HUGE}=1"]))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
