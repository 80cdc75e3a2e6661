"""Beginning with what another net has learned: ``config.init_from``, section 6's pre-training.

Every layer is taken from the other net but the classifier, which begins anew where the classes are others.
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
from alexnet_jax.training.workdir import read_workdir

_NOTHING: tuple[str, dict[str, Any]] = ("nothing", {})


def check(config: ConfigDict) -> None:
    """Whether the net of ``config.init_from`` is ours, but for the classifier and how it is trained.

    Raises:
      UserError: it is not, or there is no such workdir.
    """
    other = read_workdir(config.init_from)[0]
    if other.data.pixel_std != config.data.pixel_std:
        raise UserError(
            f"config.init_from = {config.init_from}: it has data.pixel_std = {other.data.pixel_std}, here"
            f" {config.data.pixel_std}: its first layer knows no such pixels"
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
                f"config.init_from = {config.init_from}: it has {its_words}, here {words};"
                f" only {classifier} may differ"
            )
    for name in (name for name in ours if name != classifier):
        shape, found = (params[name]["kernel"].shape for params in (ours, theirs))
        if found != shape:  # of images of another size
            raise UserError(
                f"config.init_from = {config.init_from}: its {name} is {found}, here {shape};"
                f" only {classifier} may differ"
            )


def initial_params(model: Net, config: ConfigDict, info: DataInfo, mesh: Mesh, workdir: epath.Path) -> Params:
    """The parameters that a run with ``config.init_from`` begins with, on the mesh; tells which are new.

    ``init_from.json`` in its workdir keeps the step that the other net was at.

    Args:
      model: our net.
      config: that names the other net.
      info: of the data that it is to learn.
      mesh: where to put them.
      workdir: of the run.

    Raises:
      UserError: the other net is another, as in `check`, or has no checkpoint.
    """
    check(config)
    net = restore(config.init_from, mesh=mesh)
    ours, theirs, classifier = abstract_params(model), abstract_params(net.model), config.net.layers[-1].name
    there, here = net.data.class_names, info.class_names
    anew = there != here or theirs.get(classifier) != ours[classifier]
    params = {name: net.params[name] for name in ours if not (anew and name == classifier)}
    line = f"begins with {config.init_from}, step {net.step}: {', '.join(params)} taken"
    if anew:
        places = shardings(mesh, param_specs(model.shapes))[classifier]
        params[classifier] = _classifier(model, config, places)
        why = "other classes" if len(there) == len(here) else f"{len(here):,} classes, there {len(there):,}"
        line += f"; {classifier} begins anew ({why})"
    hosts.say(line)
    if hosts.is_first():
        files.write_json(workdir / "init_from.json", {"workdir": config.init_from, "step": net.step})
    return params


def _functions(layers: Layers) -> list[tuple[str, dict[str, Any]]]:
    """Each layer but the classifier as it is at test, its name and its fields.

    Dropout is a factor there, and what a layer began with is no matter.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for layer in layers[:-1]:
        fields = dataclasses.asdict(layer)
        name = fields.pop("name")
        if isinstance(layer, Dropout):
            if layer.scale_at == "test" and layer.rate:
                found.append((f"{name}'s factor at test", {"factor": 1 - layer.rate}))
        else:
            of = {key: value for key, value in fields.items() if key not in ("std", "bias")}
            found.append((f"{type(layer).__name__} {name}", of))
    return found


def _classifier(model: Net, config: ConfigDict, places: Any) -> dict[str, jax.Array]:
    """Its new parameters, as a net from nothing with this seed would have them."""
    name = config.net.layers[-1].name

    @partial(jax.jit, out_shardings=places)
    def draw() -> dict[str, jax.Array]:
        return init(model, named_key(jax.random.key(config.seed), "init"))[name]

    return draw()
