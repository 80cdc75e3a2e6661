"""The config that every recipe begins with. Nothing here imports JAX."""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from alexnet_jax.config.settings import SETTINGS, Follows
from alexnet_jax.schema import plain


class Config(ConfigDict):
    """A config that takes NumPy's numbers as Python's."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, Config(value) if type(value) in (dict, ConfigDict) else plain(value))


def base() -> ConfigDict:
    """Return a config with the default of each setting: the paper's value, if the paper has one."""
    config = Config()
    for setting in SETTINGS:
        *sections, name = setting.key.split(".")
        section = config
        for each in sections:
            if each not in section:
                section[each] = Config()
            section = section[each]
        match setting.default:
            case Follows(key):
                section[name] = section.get_oneway_ref(key.rpartition(".")[2])
            case None:
                section[name] = placeholder(setting.type)
            case dict():
                section[name] = Config()
            case default:
                section[name] = default
    return config


def flat(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``("data.crop_size", 224)`` and so on, for every setting."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
