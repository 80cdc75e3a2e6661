"""The compiled programs: one update, and the evaluation of a batch. Both start from uint8 images.

Both run under ``jax.shard_map`` on the mesh ('data', 'tower'). A batch is split over ``data``. The parameters
and activations of a tower are on the devices of that tower.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax.data.augment import Statistics, color_noise, fixed_views, random_views, test_view
from alexnet_jax.layers import AS_BIASES, BatchNorm, Classifier, position
from alexnet_jax.net.draws import named_key
from alexnet_jax.net.model import Net, Training, abstract_params, apply, hidden
from alexnet_jax.net.shapes import Params, merged, multiplications, trainable
from alexnet_jax.parallel.axes import DATA, TOWER, splits_units
from alexnet_jax.parallel.placement import net_axes, param_specs, shardings
from alexnet_jax.runtime.compiler import compiler_options
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

    With ``config.accumulation_steps``, each device splits its examples into that many parts, and averages the
    gradients of the parts. Up to rounding the update is the same.
    """
    tx = optimizer(config, trainable(abstract_params(model)))
    specs = state_specs(model, config)
    axes = net_axes(splits_units(config)) | {"data_axis": DATA}
    norms = {layer.name: layer for layer in model.layers if isinstance(layer, BatchNorm)}
    at_once = config.batch_size // (mesh.shape[DATA] * config.accumulation_steps)

    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(specs, P(DATA), P(DATA), P(), P()),
        out_specs=(specs, P()),
        check_vma=mesh.size > 1,  # one device needs no sum, and the check would ask for it
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

        def loss_of_part(
            params: Params, images_BxHxWx3: jax.Array, labels_B: jax.Array, first: jax.Array
        ) -> tuple[jax.Array, PartResult]:
            """Return this device's share of the mean loss over the batch."""
            views = random_views(
                images_BxHxWx3, first, config.batch_size, key, noise, statistics, config.data, model.dtype
            )
            training = Training(named_key(key, "dropout"), first, config.batch_size // mesh.shape[DATA])
            logits = apply(model, params, views, training=training, **axes)
            loss = _cross_entropy(logits, labels_B, config.label_smoothing).mean()
            wrong = jnp.mean(jnp.argmax(logits, axis=-1) != labels_B)
            return loss / lax.axis_size(DATA), PartResult(loss, wrong, training.batch_stats)

        # Each shard of the data has a copy of the parameters. So gradients are summed in float32, whatever
        # type the network computes in.
        copies = jax.tree.map(
            partial(_over_data, partial(lax.pcast, to="varying")),
            trainable(state.params),
            trainable(specs.params),
        )
        gradient, parts = jax.grad(loss_of_part, has_aux=True), config.accumulation_steps
        gradients, found = _mean_over_parts(gradient, copies, images_BxHxWx3, labels_B, first, parts)
        with jax.named_scope("gradient_sums"):
            gradients = jax.tree.map(partial(_over_data, lax.psum), gradients, trainable(specs.params))
            batch_stats = {
                name: jax.tree.map(
                    partial(_over_data, lax.pmean), new, {kind: specs.params[name][kind] for kind in new}
                )
                if at_once % norms[name].group_size(config.batch_size) == 0
                else new
                for name, new in found.batch_stats.items()
            }
        params = trainable(state.params)
        rates = learning_rates(config, params, steps_per_epoch, state.step, reductions)
        changes, opt_state = tx.update(gradients, state.opt_state, params, rates=rates)
        running = {
            name: optax.incremental_update(
                new, {kind: state.params[name][kind] for kind in new}, 1 - norms[name].decay
            )
            for name, new in batch_stats.items()
        }
        params = merged(optax.apply_updates(params, changes), running)
        of_kernels = [
            rate for kinds in rates.values() for kind, rate in kinds.items() if kind not in AS_BIASES
        ]
        metrics = {
            "loss": lax.pmean(found.loss, DATA),
            "top1_error": lax.pmean(found.wrong, DATA),
            "learning_rate": jnp.stack(of_kernels).max(),
        }
        return TrainState(state.step + 1, params, opt_state), metrics

    options = compiler_options(mesh, multiplications(model.shapes))
    return jax.jit(update, donate_argnums=0, compiler_options=options)


class PartResult(NamedTuple):
    """The results of a forward pass on a device.

    Attributes:
      loss: mean loss.
      wrong: fraction of the examples whose largest logit is of another class.
      batch_stats: ``mean`` and ``variance`` of each batch normalization.
    """

    loss: jax.Array
    wrong: jax.Array
    batch_stats: Params


def _cross_entropy(logits_BxC: jax.Array, labels_B: jax.Array, smoothing: float) -> jax.Array:
    """Return the loss of each example. ``smoothing`` is the part of the target spread over all classes."""
    if not smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(logits_BxC, labels_B)
    targets_BxC = optax.smooth_labels(jax.nn.one_hot(labels_B, logits_BxC.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits_BxC, targets_BxC)


def _mean_over_parts(
    gradient: Callable[..., tuple[Params, PartResult]],
    params: Params,
    images_BxHxWx3: jax.Array,
    labels_B: jax.Array,
    first: jax.Array,
    parts: int,
) -> tuple[Params, PartResult]:
    """Compute the means of the gradients and of the results over equal parts of this device's examples.

    Args:
      gradient: function of the parameters and of the images, labels and first position of a part.
      params: the parameters.
      images_BxHxWx3: the images on this device.
      labels_B: their classes.
      first: position of the first of them in the global batch.
      parts: number of parts.
    """
    if parts == 1:
        return gradient(params, images_BxHxWx3, labels_B, first)
    size = len(labels_B) // parts
    images_PxSxHxWx3, labels_PxS = (x.reshape(parts, size, *x.shape[1:]) for x in (images_BxHxWx3, labels_B))

    def add(sums: Params, part: Any) -> tuple[Params, PartResult]:
        gradients, result = gradient(params, *part)
        return jax.tree.map(jnp.add, sums, gradients), result

    zeros = jax.tree.map(jnp.zeros_like, params)
    each = images_PxSxHxWx3, labels_PxS, first + size * jnp.arange(parts)
    sums, results = lax.scan(add, zeros, each)
    return jax.tree.map(lambda x: x / parts, sums), jax.tree.map(lambda x_P: x_P.mean(axis=0), results)


def _over_data(function: Callable[..., jax.Array], x: jax.Array, spec: P) -> jax.Array:
    """Apply a function over the axis ``data``, unless this axis splits the array, or there is one device.

    XLA for CPUs does not remove sums over one device. It would copy all gradients.
    """
    return x if DATA in spec or lax.axis_size((DATA, TOWER)) == 1 else function(x, DATA)


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
    options = compiler_options(mesh, multiplications(model.shapes))

    @partial(jax.jit, static_argnames="views", compiler_options=options)
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
    """Return ``{"conv1": {"weights": mean |w|, "steps": mean |change of w|}, ...}``, of the kernels.

    Args:
      before: the parameters before an update.
      params: the parameters after the update.
    """
    before, params = trainable(before), trainable(params)
    changes = jax.tree.map(jnp.subtract, params, before)

    def kernels(arrays: dict[str, jax.Array]) -> list[jax.Array]:
        return [x for kind, x in arrays.items() if kind not in AS_BIASES]

    def mean(arrays: dict[str, jax.Array]) -> jax.Array:
        sums = [jnp.sum(jnp.abs(x)) for x in kernels(arrays)]
        return jnp.stack(sums).sum() / sum(x.size for x in kernels(arrays))

    return {
        layer: {"weights": mean(arrays), "steps": mean(changes[layer])}
        for layer, arrays in params.items()
        if kernels(arrays)
    }
