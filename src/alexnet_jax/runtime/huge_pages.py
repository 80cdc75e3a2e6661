"""Memory in huge pages, which glibc can be asked for by the environment alone, before a process starts.

On a CPU, XLA takes the memory of a step anew each time, and the first touch of each page of 4 kB took a
fifth of a step of the paper's net (docs/performance.md).
"""

import os
import sys

TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def ask() -> None:
    """Starts this program again, once, its environment asking for huge pages.

    Set ``GLIBC_TUNABLES=glibc.malloc.hugetlb=0`` to have neither; other libraries than glibc ignore it.
    """
    tunables = os.environ.get(TUNABLES, "")
    if sys.platform != "linux" or HUGE in tunables:
        return
    os.environ[TUNABLES] = ":".join(filter(None, [tunables, f"{HUGE}=1"]))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
