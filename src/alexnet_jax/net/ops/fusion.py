"""A barrier against fusion for XLA's CPU compiler.

The compiler fuses an operation with those that read its result. It then recomputes each element for
every position that reads it: nine times for a pool of 3x3. It removes `lax.optimization_barrier` before
fusion, but it does not fuse across a call that must not be inlined.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
from jax.experimental.xla_metadata import set_xla_metadata

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def apart(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return the same function of arrays, but compute its arguments and results once and store them."""

    @jax.jit
    def body(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with set_xla_metadata(inlineable=None):  # the calls in it may be inlined
            return function(*args, **kwargs)

    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with set_xla_metadata(inlineable="false"):
            result: Result = body(*args, **kwargs)
        return result

    return call
