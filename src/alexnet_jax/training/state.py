"""The state of a training run, and its placement on the mesh."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax.net.draws import named_key
from alexnet_jax.net.model import Net, abstract_params, init
from alexnet_jax.net.shapes import Params, trainable
from alexnet_jax.parallel.axes import splits_units
from alexnet_jax.parallel.placement import param_specs, shardings
from alexnet_jax.training.optimizer import optimizer


@partial(jax.tree_util.register_dataclass, data_fields=["step", "params", "opt_state"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The updates done, the parameters and the optimizer's state, which an update reads and writes."""

    step: Any
    params: Params
    opt_state: optax.OptState


def state_specs(model: Net, config: ConfigDict) -> TrainState:
    """Return the spec of each array: in the optimizer, that of its parameter. Scalars are not split."""
    params = trainable(abstract_params(model))
    specs = param_specs(model.shapes, splits_units(config))
    tx = optimizer(config, params)
    opt_state = optax.tree.map_params(
        tx,
        lambda _, spec: spec,
        jax.eval_shape(tx.init, params),
        trainable(specs),
        transform_non_params=lambda _: P(),
    )
    return TrainState(P(), specs, opt_state)


def abstract_state(model: Net, config: ConfigDict, mesh: Mesh) -> TrainState:
    """Return the state's shapes, types and shardings, without values."""
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(partial(_create_state, model, config), abstract_params(model)),
        shardings(mesh, state_specs(model, config)),
    )


def new_state(model: Net, config: ConfigDict, mesh: Mesh, params: Params | None = None) -> TrainState:
    """Return the state before the first update, on the mesh.

    Args:
      model: the network.
      config: the whole config.
      mesh: the devices.
      params: the initial parameters; by default they are drawn from ``config.seed``.
    """
    out_shardings = shardings(mesh, state_specs(model, config))
    return jax.jit(partial(_create_state, model, config), out_shardings=out_shardings)(params)


def _create_state(model: Net, config: ConfigDict, params: Params | None) -> TrainState:
    if params is None:
        params = init(model, named_key(jax.random.key(config.seed), "init"))
    opt_state = optimizer(config, trainable(params)).init(trainable(params))
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state)
