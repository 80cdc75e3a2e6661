"""NumPy and XLA compute the same checksums on any mesh, and find elements that are not finite."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training import checksums as checksums_lib
from alexnet_jax.training.checksums import checksums


@pytest.fixture(params=[1, 2], ids=["numpy", "xla"])
def processes(request, monkeypatch):
    """Pretend that there are one or two processes: NumPy computes the sums for one, XLA for several."""
    monkeypatch.setattr(jax, "process_count", lambda: request.param)


@pytest.mark.parametrize("spec", [P(), P("tower"), P("data", "tower")])
def test_the_sum_of_all_bits_on_any_mesh(processes, monkeypatch, spec):
    monkeypatch.setattr(checksums_lib, "_BLOCK", 7)
    elements = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    sharding = NamedSharding(make_mesh(2, 2), spec)
    expected = sum(elements.view(np.uint32).ravel().tolist()) % 2**32
    assert checksums({"a": {"b": jax.device_put(elements, sharding)}}) == ({"a": {"b": expected}}, True)


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_an_element_that_is_not_finite_is_found(processes, number):
    tree = {"a": jax.numpy.ones(3), "b": jax.numpy.ones((2, 5)).at[1, 3].set(number)}
    assert not checksums(tree)[1]
