"""Ask glibc for memory in huge pages, which only the environment can do, before a process starts.

On a CPU, XLA allocates the memory of a step each time, and the first touch of each page of 4 kB took a
fifth of a step of the paper's net (docs/performance.md).
"""

import os
import sys

TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def ask() -> None:
    """Start this program again, once, with an environment that asks for huge pages.

    Set ``GLIBC_TUNABLES=glibc.malloc.hugetlb=0`` to prevent both. Other C libraries ignore it.
    """
    tunables = os.environ.get(TUNABLES, "")
    if sys.platform != "linux" or HUGE in tunables:
        return
    os.environ[TUNABLES] = ":".join(filter(None, [tunables, f"{HUGE}=1"]))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
