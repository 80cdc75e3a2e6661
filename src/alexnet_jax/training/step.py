"""The compiled programs: one update, and the evaluation of a batch. Both start from uint8 images.

Both run under ``jax.shard_map`` on the mesh ('data', 'tower'). A batch is split over ``data``. The parameters
and activations of a tower are on the devices of that tower.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax.data.augment import Statistics, color_noise, fixed_views, random_views, test_view
from alexnet_jax.layers import Classifier, position
from alexnet_jax.net.draws import named_key
from alexnet_jax.net.model import Net, abstract_params, apply, hidden
from alexnet_jax.net.shapes import Params
from alexnet_jax.parallel.axes import DATA, TOWER, splits_units
from alexnet_jax.parallel.placement import net_axes, param_specs, shardings
from alexnet_jax.training.optimizer import optimizer
from alexnet_jax.training.schedule import learning_rates
from alexnet_jax.training.scores import mean_log_probabilities
from alexnet_jax.training.state import TrainState, abstract_state, state_specs

Metrics: TypeAlias = dict[str, jax.Array]


def train_step(model: Net, config: ConfigDict, mesh: Mesh, steps_per_epoch: int) -> jax.stages.Wrapped:
    """Compile ``(state, images, labels, reductions, statistics) -> (state, metrics)``.

    Images are uint8 of shape (batch, height, width, 3), labels int32 of shape (batch,). ``reductions`` is
    `schedule.Plateau.reductions`. The metrics are those of the batch before the update: ``loss``
    (cross-entropy in nats, mean over the batch), ``top1_error`` (fraction) and ``learning_rate`` (the largest
    of any kernel). The state is donated.
    """
    tx = optimizer(config, abstract_params(model))
    specs = state_specs(model, config)
    axes = net_axes(splits_units(config))

    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(specs, P(DATA), P(DATA), P(), P()),
        out_specs=(specs, P()),
    )
    def update(
        state: TrainState,
        images_BxHxWx3: jax.Array,
        labels_B: jax.Array,
        reductions: jax.Array,
        statistics: Statistics,
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        first = lax.axis_index(DATA) * len(labels_B)
        noise = color_noise(config.data, steps_per_epoch, state.step)
        views = random_views(
            images_BxHxWx3, first, config.batch_size, key, noise, statistics, config.data, model.dtype
        )

        def mean_loss(params: Params) -> tuple[jax.Array, jax.Array]:
            # From here on each shard of the data has a copy. So the gradients are summed in float32, whatever
            # type the network computes in.
            params = jax.tree.map(_vary_over_data, params, specs.params)
            logits = apply(model, params, views, dropout_key=named_key(key, "dropout"), first=first, **axes)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels_B)
            return lax.pmean(losses.mean(), DATA), logits

        (loss, logits), gradients = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
        wrong = lax.pmean(jnp.mean(jnp.argmax(logits, axis=-1) != labels_B), DATA)
        rates = learning_rates(config, state.params, steps_per_epoch, state.step, reductions)
        changes, opt_state = tx.update(gradients, state.opt_state, state.params, rates=rates)
        params = optax.apply_updates(state.params, changes)
        of_kernels = [rate for kinds in rates.values() for kind, rate in kinds.items() if kind != "bias"]
        largest = jnp.stack(of_kernels).max()
        metrics = {"loss": loss, "top1_error": wrong, "learning_rate": largest}
        return TrainState(state.step + 1, params, opt_state), metrics

    return jax.jit(update, donate_argnums=0)


def _vary_over_data(x: jax.Array, spec: P) -> jax.Array:
    return x if DATA in spec else lax.pcast(x, DATA, to="varying")


def lower_train_step(model: Net, config: ConfigDict, mesh: Mesh) -> jax.stages.Lowered:
    """Lower the update for a mesh whose devices need not exist."""

    def array(shape: tuple[int, ...], dtype: jax.typing.DTypeLike, *axes: str) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=shardings(mesh, P(*axes)))

    state = abstract_state(model, config, mesh)
    image = (config.data.image_size, config.data.image_size, 3)
    return train_step(model, config, mesh, steps_per_epoch=1).lower(
        state,
        array((config.batch_size, *image), jnp.uint8, DATA),
        array((config.batch_size,), jnp.int32, DATA),
        array((), jnp.int32),
        Statistics(array(image, jnp.float32), array((3, 3), jnp.float32)),
    )


def log_probabilities(
    model: Net, data: ConfigDict, mesh: Mesh, split_units: bool = False
) -> jax.stages.Wrapped:
    """Compile ``(params, images, statistics, views) -> log of the mean probabilities over the views``.

    Images are uint8 of shape (batch, height, width, 3). The result is float32 of shape (batch, classes).
    ``views`` is 1 (the centre) or 10, see `fixed_views`. ``split_units`` is described in `param_specs`.
    """

    def averaged(logits_NxBxC: jax.Array) -> jax.Array:
        return mean_log_probabilities(jax.nn.log_softmax(logits_NxBxC))

    return _of_views(averaged, P(DATA), model, data, mesh, split_units)


def features(model: Net, data: ConfigDict, mesh: Mesh, layer: str | None = None) -> jax.stages.Wrapped:
    """Compile ``(params, images, statistics, views) -> mean activations of a layer over the views``.

    Images and views are as in `log_probabilities`, and the result as in `model.hidden`: float32 with the
    channels (or units) of the first tower before those of the second.

    Raises:
      UserError: there is no such layer.
    """

    def mean(features_NxB: jax.Array) -> jax.Array:
        return features_NxB.mean(axis=0)

    spec = P(DATA, TOWER)
    if layer is not None:
        shapes = model.shapes[position(model.layers, layer)]
        inner = (None,) * (len(shapes.outputs) - 1)
        spec = P(DATA) if isinstance(shapes.layer, Classifier) else P(DATA, *inner, TOWER)
    return _of_views(mean, spec, model, data, mesh, False, partial(hidden, layer=layer))


def _of_views(
    combine: Callable[[jax.Array], jax.Array],
    out_specs: P,
    model: Net,
    data: ConfigDict,
    mesh: Mesh,
    split_units: bool,
    run: Callable[..., jax.Array] = apply,
) -> jax.stages.Wrapped:
    """Compile ``run`` for the test views, then ``combine``, whose input has a leading axis of views."""

    @partial(jax.jit, static_argnames="views")
    def predict(params: Params, images_BxHxWx3: jax.Array, statistics: Statistics, views: int) -> jax.Array:
        _, height, width, _ = images_BxHxWx3.shape
        table = fixed_views(height, width, data.crop_size, views, data.flip)

        @partial(
            jax.shard_map,
            mesh=mesh,
            in_specs=(param_specs(model.shapes, split_units), P(DATA), P()),
            out_specs=out_specs,
        )
        def on_each_device(params: Params, images: jax.Array, statistics: Statistics) -> jax.Array:
            def one_view(view_3: jax.Array) -> jax.Array:
                view = test_view(images, view_3, statistics, data)
                return run(model, params, view, **net_axes(split_units))

            return combine(lax.map(one_view, jnp.asarray(table)))

        return on_each_device(params, images_BxHxWx3, statistics)

    return predict


@jax.jit
def mean_magnitudes(before: Params, params: Params) -> dict[str, dict[str, jax.Array]]:
    """Return ``{"conv1": {"weights": mean |w|, "steps": mean |change of w|}, ...}``, without biases.

    Args:
      before: the parameters before an update.
      params: the parameters after the update.
    """
    changes = jax.tree.map(jnp.subtract, params, before)

    def mean(arrays: dict[str, jax.Array]) -> jax.Array:
        kernels = [x for kind, x in arrays.items() if kind != "bias"] or [*arrays.values()]
        sums = [jnp.sum(jnp.abs(x)) for x in kernels]
        return jnp.stack(sums).sum() / sum(x.size for x in kernels)

    return {layer: {"weights": mean(params[layer]), "steps": mean(changes[layer])} for layer in params}
