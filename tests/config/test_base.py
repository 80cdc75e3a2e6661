"""The config of defaults."""

import subprocess
import sys

from alexnet_jax.config import base
from alexnet_jax.config.base import flat
from alexnet_jax.config.settings import SETTINGS


def test_the_learning_rate_of_biases_follows_that_of_kernels_unless_it_is_set():
    c = base()
    c.optimizer.learning_rate = 0.5
    assert c.optimizer.bias_learning_rate == 0.5
    c.optimizer.bias_learning_rate = 0.1
    assert c.optimizer.learning_rate == 0.5


def test_base_has_every_setting_and_no_other():
    settings = [setting.key for setting in SETTINGS if setting.type is not dict]
    assert sorted(key for key, _ in flat(base())) == sorted(settings)


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
