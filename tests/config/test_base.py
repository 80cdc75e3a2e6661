"""The config of defaults."""

import json
import subprocess
import sys

import numpy as np

from alexnet_jax.config import base
from alexnet_jax.config.base import flat
from alexnet_jax.config.saved import from_json, to_json
from alexnet_jax.config.settings import SETTINGS
from alexnet_jax.config.validate import validate
from alexnet_jax.layers import replaced


def test_the_learning_rate_of_biases_follows_that_of_kernels_unless_it_is_set():
    c = base()
    c.optimizer.learning_rate = 0.5
    assert c.optimizer.bias_learning_rate == 0.5
    c.optimizer.bias_learning_rate = 0.1
    assert c.optimizer.learning_rate == 0.5


def test_base_has_every_setting_and_no_other():
    settings = [setting.key for setting in SETTINGS if setting.type is not dict]
    assert sorted(key for key, _ in flat(base())) == sorted(settings)


def test_numbers_of_numpy_become_pythons(tiny):
    tiny.seed, tiny.num_steps, tiny.data.flip = np.uint32(3), np.int64(4), np.bool_(False)
    tiny.optimizer.learning_rate = np.float32(0.5)
    tiny.mesh, tiny.schedule.boundaries = np.array([1, 1]), tuple(np.array([0.1, 0.2]))
    tiny.optimizer.layers.conv1 = {"learning_rate": np.float64(0.1)}
    tiny.optimizer.layers.conv2 = {}
    tiny.optimizer.layers.conv2.learning_rate = np.float64(0.1)
    tiny.net.layers = replaced(tiny.net.layers, "conv1", features=np.int64(6), padding=(np.int64(0), 1))
    validate(tiny)
    assert from_json(json.loads(json.dumps(to_json(tiny)))).to_dict() == tiny.to_dict()
    assert (tiny.mesh, tiny.optimizer.learning_rate) == ((1, 1), 0.5)


def test_two_configs_share_nothing():
    one, other = base(), base()
    one.optimizer.layers.update({"conv1": {"learning_rate": 1.0}})
    one.data.crop_size = 7
    assert (len(other.optimizer.layers), other.data.crop_size) == (0, 224)


def test_nothing_in_config_imports_jax():
    code = """if True:
        import importlib, pkgutil, sys
        import alexnet_jax.config
        for module in pkgutil.iter_modules(alexnet_jax.config.__path__):
            importlib.import_module(f"alexnet_jax.config.{module.name}")
        alexnet_jax.config.get_config("digits")
        sys.exit("jax" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
