"""What depends on the JAX release: the supported range, and the private API that the project needs.

Nothing else in the project imports from ``jax._src``.
"""

import importlib.metadata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from packaging.version import Version

from alexnet_jax.errors import UserError

OLDEST, NEWEST = "0.10.2", "0.12.0.1"  # the test suite passes on both, and on 0.11.2


def check_release() -> None:
    """Refuse a JAX release that is too old. Releases after `NEWEST` are accepted but untested.

    Raises:
      UserError: JAX is not installed, or is older than `OLDEST`.
    """
    try:
        installed = importlib.metadata.version("jax")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"JAX is not installed: pip install 'jax>={OLDEST}'") from None
    if Version(installed) < Version(OLDEST):
        raise UserError(
            f"jax {installed} is too old: alexnet-jax supports jax {OLDEST} to {NEWEST};"
            " pip install --upgrade jax flax orbax-checkpoint"
        )


def process_index() -> int:
    """Return this process's index, even if JAX cannot use its devices, which `jax.process_index` needs.

    JAX 0.10.2 to 0.12.0.1 have no public function for that.
    """
    from jax._src import distributed

    return int(distributed.global_state.process_id)


def preemption_request() -> Callable[[], None]:
    """Return a function that asks JAX's preemption service to stop all processes at the same step.

    The service listens only to SIGTERM. Ctrl-C, and a SIGTERM that Python has handled, must be reported to
    it. JAX 0.10.2 to 0.12.0.1 have no public function for that, so this function sets the key that the
    service's own signal handler sets.

    Raises:
      UserError: this JAX release has changed the private API.
    """
    try:
        from jax._src import distributed

        client: Any = distributed.global_state.client
        set_key = client.key_value_set
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"jax {importlib.metadata.version('jax')} has changed the private API that stops all"
            f" processes at the same step ({error}): pip install 'jax>={OLDEST},<={NEWEST}'"
        ) from error
    return lambda: set_key("RECEIVED_PREEMPTION_NOTICE", datetime.now(UTC).isoformat(), allow_overwrite=True)
