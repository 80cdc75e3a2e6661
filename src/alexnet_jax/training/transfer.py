"""Start from the parameters of another network: ``config.init_from``, the pre-training of section 6.

All layers are taken from the other network. Only the classifier is re-initialised, if the classes differ.
"""

import dataclasses
import itertools
from functools import partial
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.errors import UserError
from alexnet_jax.layers import Dropout, Layers
from alexnet_jax.net.draws import named_key
from alexnet_jax.net.model import Net, abstract_params, build, init
from alexnet_jax.net.shapes import Params
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel.placement import param_specs, shardings
from alexnet_jax.training.restored import restore

_NOTHING: tuple[str, dict[str, Any]] = ("nothing", {})


def check(config: ConfigDict, other: ConfigDict) -> None:
    """Check that another network is the same function as ours at test time, except for its classifier.

    Args:
      config: our config, with ``init_from``.
      other: the config of the workdir that ``init_from`` names.

    Raises:
      UserError: it is another network, or reads differently scaled pixels.
    """
    if other.data.pixel_std != config.data.pixel_std:
        raise UserError(
            f"config.init_from = {config.init_from}: it has data.pixel_std = {other.data.pixel_std}, so its"
            " first layer was trained on differently scaled pixels: set config.data.pixel_std to the same,"
            f" not {config.data.pixel_std}"
        )
    ours, theirs = (abstract_params(build(c)) for c in (config, other))
    classifier = config.net.layers[-1].name
    here, there = (_functions(c.net.layers) for c in (config, other))
    for mine, its in itertools.zip_longest(here, there, fillvalue=_NOTHING):
        if mine != its:
            fields = [key for key in its[1] if mine[0] == its[0] and mine[1][key] != its[1][key]]
            its_words, words = (
                " ".join([name, *(f"with {key} = {values[key]}" for key in fields)])
                for name, values in (its, mine)
            )
            raise UserError(
                f"config.init_from = {config.init_from}: it has {its_words}, this run has {words};"
                f" only {classifier} may differ"
            )
    for name in (name for name in ours if name != classifier):
        for kind, array in ours[name].items():
            shape, found = array.shape, theirs[name][kind].shape
            if found != shape:  # for images of another size, or with another number of towers
                raise UserError(
                    f"config.init_from = {config.init_from}: its {name} has the shape {found}, this run has"
                    f" {shape}; only {classifier} may differ"
                )


def initial_params(model: Net, config: ConfigDict, info: DataInfo, mesh: Mesh, workdir: epath.Path) -> Params:
    """Return the parameters that a run with ``config.init_from`` starts from, and print which are new.

    Write ``init_from.json`` into the run's workdir, with the step of the other network's checkpoint.

    Args:
      model: our network.
      config: our config, which names the workdir of the other network.
      info: description of our data.
      mesh: devices that hold the parameters.
      workdir: our workdir.

    Raises:
      UserError: the other network does not fit, as in `check`, or has no checkpoint.
    """
    net = restore(config.init_from, mesh=mesh)
    check(config, net.config)  # `open_run` skips it for a run that was killed before its first checkpoint
    ours, theirs, classifier = abstract_params(model), abstract_params(net.model), config.net.layers[-1].name
    there, here = net.data.class_names, info.class_names
    is_new = there != here or theirs.get(classifier) != ours[classifier]
    params = {name: net.params[name] for name in ours if not (is_new and name == classifier)}
    line = f"starts from {config.init_from}, step {net.step}: {', '.join(params)} taken"
    if is_new:
        sharding = shardings(mesh, param_specs(model.shapes))[classifier]
        params[classifier] = _classifier(model, config, sharding)
        why = (
            "other classes" if len(there) == len(here) else f"{len(here):,} classes instead of {len(there):,}"
        )
        line += f"; {classifier} is re-initialised ({why})"
    hosts.say(line)
    if hosts.is_first():
        content = files.as_json({"workdir": config.init_from, "step": net.step})
        files.write(workdir / "init_from.json", content)
    return params


def _functions(layers: Layers) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the fields of each layer except the classifier, as far as they matter at test time.

    Dropout is at most a factor at test time. Initial values are ignored, and so are the settings for
    computing batch statistics.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for layer in layers[:-1]:
        fields = dataclasses.asdict(layer)
        name = fields.pop("name")
        if isinstance(layer, Dropout):
            if layer.scale_at == "test" and layer.rate:
                found.append((f"{name}'s factor at test time", {"factor": 1 - layer.rate}))
        else:
            of = {key: value for key, value in fields.items() if key not in ("std", "bias", "group", "decay")}
            found.append((f"{type(layer).__name__} {name}", of))
    return found


def _classifier(model: Net, config: ConfigDict, sharding: Any) -> dict[str, jax.Array]:
    """Return the initial parameters of the classifier, which are the same as without ``init_from``."""
    name = config.net.layers[-1].name

    @partial(jax.jit, out_shardings=sharding)
    def draw() -> dict[str, jax.Array]:
        return init(model, named_key(jax.random.key(config.seed), "init"))[name]

    return draw()
