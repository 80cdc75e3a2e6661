"""The error rates that the paper publishes for its networks, in %, by the names in its tables."""

from pathlib import Path

from ml_collections import ConfigDict

from alexnet_jax.config import saved
from alexnet_jax.config.recipe import load
from alexnet_jax.sweep.spec import Published

_2010, _2012 = "ILSVRC-2010 test", "ILSVRC-2012 validation"

TABLE1 = {"1 CNN": Published(_2010, 37.5, 17.0)}
TABLE2 = {
    "1 CNN": Published(_2012, 40.7, 18.2),
    "5 CNNs": Published(_2012, 38.1, 16.4),
    "1 CNN*": Published(_2012, 39.0, 16.6),
    "7 CNNs*": Published(_2012, 36.7, 15.4),
}
TABLE2_TEST_TOP5 = {"5 CNNs": 16.4, "7 CNNs*": 15.3}
FALL2009 = {"1 CNN": Published("half of Fall 2009", 67.4, 40.9)}
SECTION33 = {"local13": Published("CIFAR-10 test", 13.0), "local11": Published("CIFAR-10 test", 11.0)}

_RECIPES = {
    "alexnet": TABLE2["1 CNN"],
    "alexnet:ilsvrc2010": TABLE1["1 CNN"],
    "alexnet:sixth_conv,fall2009": FALL2009["1 CNN"],
    **{f"cifar10:{name}": published for name, published in SECTION33.items()},
}


def of_config(config: ConfigDict) -> Published | None:
    """Return the published error rates of a config's network on its data; None if there are none.

    A network that starts from the parameters of another has none. Only the network and the data are compared.

    Args:
      config: config of a recipe or of a workdir.
    """
    if config.init_from is not None:
        return None
    for recipe, published in _RECIPES.items():
        known = load(recipe)
        net = [key for key, _, _ in saved.changes(known, config) if key.startswith("net.")]
        same_net = all(key.endswith(".classes") for key in net)
        if same_net and _short(known.data.source) == _short(config.data.source):
            return published
    return None


def _short(source: str) -> tuple[str, str]:
    """Return the kind and the name of a source; a folder's path differs between machines."""
    kind, _, rest = source.partition(":")
    return kind, Path(rest).name
