"""What depends on the JAX release: the supported range, and the private API that the project needs.

Nothing else in the project imports from ``jax._src``.
"""

import importlib.metadata
import os
import warnings
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


def detect_cluster(timeout: int) -> tuple[str, int, int, int | None] | None:
    """Return what JAX's detection finds out about this process; None if it is the only one.

    JAX 0.10.2 to 0.12.0.1 have no public function for this.

    Args:
      timeout: seconds to wait until the name of process 0's host is known.

    Returns:
      HOST:PORT of process 0, the number of processes, the number of this one, and its number among those of
      its host, or None if the cluster does not number these.

    Raises:
      UserError: this JAX release has changed the private API.
      Exception: a variable of the cluster is missing or wrong.
    """
    try:
        from jax._src.clusters import ClusterEnv

        kinds = ClusterEnv._cluster_types
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"jax {importlib.metadata.version('jax')} has changed the private API that detects clusters"
            f" ({error}): pip install 'jax>={OLDEST},<={NEWEST}'"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # JAX warns in a pod without the package kubernetes, even if it is the only one
        cluster = next((k for k in kinds if not k.opt_in_only_method and k.is_env_present()), None)
        if cluster is None or (count := cluster.get_process_count()) == 1:
            return None
        port = os.environ.get("JAX_COORDINATOR_PORT")
        address = cluster.get_coordinator_address(timeout_secs=timeout, override_coordinator_port=port)
        return address, count, cluster.get_process_id(), cluster.get_local_process_id()


def set_gloo_address(address: str) -> None:
    """Let Gloo, which connects the processes on CPUs, listen at this address of this host.

    Otherwise it uses the address of the host's own name, which is 127.0.1.1 on Debian. Call this before the
    devices are initialized. JAX 0.10.2 to 0.12.0.1 have no public function for this.
    """
    from jaxlib import _jax

    original: Any = _jax.make_gloo_tcp_collectives
    _jax.make_gloo_tcp_collectives = lambda **options: original(**options | {"hostname": address})


def use_default_dce_rule(primitive: Any) -> None:
    """Let JAX remove the calls of a primitive whose results are not used, as it does by default.

    jax-triton 0.4.1 registers another rule. JAX 0.12 cannot call it: it has the signature of JAX 0.11.
    """
    from jax._src.interpreters import partial_eval

    partial_eval.dce_rules.pop(primitive, None)
