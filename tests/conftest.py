"""Eight CPU devices for the meshes; real data where it is, a failure in CI where it is not."""

import os
import tempfile
from pathlib import Path

import jax
import pytest

# One compilation for all tests, and for the processes they start, that run the same program.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="alexnet-jax-xla-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)

RECIPES = Path(__file__).parent / "recipes"
CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def tiny(cache_dir):
    """The config of a small two-tower net on the digits, ready to run on one device."""
    from alexnet_jax import get_config

    config = get_config(f"{RECIPES / 'tiny.py'}")
    config.data.cache_dir = cache_dir
    return config


@pytest.fixture
def cifar10_dir():
    """Where TFDS has prepared CIFAR-10."""
    root = os.environ.get("TFDS_DATA_DIR")
    if root and list(Path(root).glob("cifar10/*/dataset_info.json")):
        return root
    message = "TFDS_DATA_DIR does not hold cifar10: tests on real images are left out"
    if os.environ.get("ALEXNET_JAX_NO_SKIPS"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, cache_dir):
    """A workdir in which the tiny recipe was trained to its end; tests only read it."""
    from alexnet_jax import get_config
    from alexnet_jax.train import train

    config = get_config(f"{RECIPES / 'tiny.py'}")
    config.data.cache_dir = cache_dir
    workdir = tmp_path_factory.mktemp("trained")
    train(config, str(workdir))
    return workdir


def tpu_topology(name):
    """The devices of a TPU that is not there, for libtpu's compiler."""
    from jax.experimental import topologies

    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # or libtpu asks the network what machine this is
    return topologies.get_topology_desc(platform="tpu", topology_name=name).devices
