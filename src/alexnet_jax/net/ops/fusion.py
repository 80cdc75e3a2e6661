"""What XLA's CPU compiler is not to fuse.

It fuses whatever reads an array with what makes it, and then works out each number anew for each
place that reads it: nine times for a pool of 3x3. It has no barrier against that (it drops
`lax.optimization_barrier` first); a call that is not to be inlined is one.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
from jax.experimental.xla_metadata import set_xla_metadata

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def apart(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function of arrays, whose arguments and results are made once and kept in memory."""

    @jax.jit
    def body(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with set_xla_metadata(inlineable=None):  # the calls in it may be inlined
            return function(*args, **kwargs)

    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with set_xla_metadata(inlineable="false"):
            result: Result = body(*args, **kwargs)
        return result

    return call
