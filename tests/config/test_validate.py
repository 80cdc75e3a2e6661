"""Wrong settings, each refused in one line."""

import pytest
from ml_collections import ConfigDict

from alexnet_jax import UserError
from alexnet_jax.config.overrides import override
from alexnet_jax.config.validate import validate
from alexnet_jax.layers import LRN, BatchNorm, after, replaced
from alexnet_jax.variants import batch_norm


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", 0),
        ("num_epochs", float("nan")),
        ("num_steps", -1),
        ("num_steps", 10**20),
        ("num_epochs", 1e300),
        ("eval_every", 2**31),
        ("eval_every_epochs", 1e308),
        ("schedule.boundaries", (1e308,)),
        ("schedule.max_reductions", 10**20),
        ("data.color_noise_epochs", 1e300),
        ("data.image_size", 10**5),
        ("data.pixel_std", 1e-300),
        ("optimizer.learning_rate", 1e300),
        ("seed", -1),
        ("optimizer.learning_rate", -0.1),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.learning_rate", float("inf")),
        ("optimizer.momentum", 1.0),
        ("optimizer.weight_decay", -1.0),
        ("schedule.name", "cosinus"),
        ("schedule.warmup_epochs", -1.0),
        ("label_smoothing", 1.0),
        ("accumulation_steps", 0),
        ("optimizer.reference_batch_size", 0),
        ("optimizer.trust", -1.0),
        ("schedule.boundaries", (2.0, 1.0)),
        ("schedule.boundaries", ("a",)),
        ("data.crop_size", 9),
        ("data.crop_scale", (0.08,)),
        ("data.crop_scale", (0.5, 0.1)),
        ("data.crop_scale", (0.5, 1.5)),
        ("data.encoding", "png"),
        ("data.max_broken", 1.0),
        ("data.color_noise", -0.1),
        ("data.validation", float("nan")),
        ("data.pixel_std", 0.0),
        ("dtype", "float16"),
        ("mesh", (0, 1)),
        ("mesh", (1, 1, 1)),
        ("net.towers", 0),
        ("eval_every", 0),
        ("keep_checkpoints", 0),
        ("log_images", 101),
        ("wandb", ""),
        ("wandb", "a/b/c"),
        ("wandb", "a#b"),
        *(("profile", value) for value in ("5", "0:5", "5:3", "1:101", "a:b", "5:", "-5:5", "39:41")),
        ("batch_size", None),
        ("batch_size", True),
    ],
)
def test_wrong_values_are_refused(tiny, key, value):
    section, _, name = key.rpartition(".")
    (tiny[section] if section else tiny)[name] = value
    with pytest.raises(UserError, match=f"config.{key}"):
        validate(tiny)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"conv9": {"learning_rate": 0.1}}, "conv9 is not a layer .*: there are conv1, conv2, fc6, fc8"),
        ({"fc8": {"decay": 0.1}}, "fc8.decay does not exist.*: there are learning_rate"),
        ({"fc8": {"learning_rate": -0.1}}, "fc8.learning_rate is -0.1"),
        ({"fc8": {"boundaries": (2, 1)}}, "fc8.boundaries is .2, 1., but must be positive epochs in"),
        ({"fc8": {"frozen_epochs": 1e300}}, "fc8.frozen_epochs is 1e.300, but must be from 0 to"),
        ({"fc8": {"bias_decay": 0.1}}, "called optimizer.layers.fc8.bias_weight_decay now"),
        ({"fc8": 0.1}, "fc8 is 0.1, but must be a table"),
    ],
)
def test_overrides_of_layers_are_checked(tiny, layers, message):
    tiny.optimizer.layers = ConfigDict(layers)
    with pytest.raises(UserError, match=message):
        validate(tiny)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("batch_sise", "config.batch_sise does not exist .did you mean batch_size"),
        ("data.cropsize", "config.data.cropsize does not exist .did you mean data.crop_size"),
        ("learning.rate", "config.learning.rate does not exist: it is called optimizer.learning_rate now"),
    ],
)
def test_a_recipe_with_an_unknown_setting_is_refused(tiny, key, message):
    section, _, name = key.rpartition(".")
    tiny.learning = ConfigDict() if section == "learning" else tiny.data
    if section != "learning":
        del tiny.learning
    (tiny[section] if section else tiny)[name] = 1
    with pytest.raises(UserError, match=message):
        validate(tiny)


def test_a_renamed_value_is_refused_with_its_new_name(tiny):
    tiny.data.color_noise_reading = "deviation"
    with pytest.raises(UserError, match="is 'deviation', which is called 'standard_deviation' now"):
        validate(tiny)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule.name": "cosine"}, "cosine, which has no boundaries: remove config.schedule.boundaries"),
        ({"schedule.warmup_epochs": 0.5}, "0.5, but learning rates are already reduced at epoch 0.3"),
        ({"accumulation_steps": 3}, "accumulation_steps is 3, but must divide config.batch_size, 16$"),
    ],
)
def test_contradictory_settings_are_refused(tiny, settings, message):
    tiny.update_from_flattened_dict(settings)
    with pytest.raises(UserError, match=message):
        validate(tiny)


def test_a_warm_up_as_long_as_the_run_is_refused(tiny):
    tiny.num_steps, tiny.num_epochs, tiny.schedule.warmup_epochs = None, 5.0, 5.0
    with pytest.raises(UserError, match=r"warmup_epochs is 5.0, but the run has only 5.0 epochs$"):
        validate(tiny)


def test_a_warm_up_past_the_boundary_of_a_layer_is_refused(tiny):
    tiny.schedule.boundaries, tiny.schedule.warmup_epochs = (), 2.0
    tiny.optimizer.layers = ConfigDict({"fc6": {"boundaries": (1.0, 3.0)}})
    with pytest.raises(
        UserError, match=r"warmup_epochs is 2.0, but learning rates are already reduced at epoch 1.0"
    ):
        validate(tiny)


def test_boundaries_of_a_layer_contradict_a_cosine(tiny):
    tiny.schedule.name, tiny.schedule.boundaries = "cosine", ()
    tiny.optimizer.layers = ConfigDict({"fc6": {"boundaries": (1.0,)}})
    with pytest.raises(UserError, match=r"remove config\.optimizer\.layers\.fc6\.boundaries"):
        validate(tiny)


@pytest.mark.parametrize(
    ("settings", "group", "message"),
    [
        ({"batch_size": 1}, 0, "batch_size is 1, but batch normalization needs at least 2 examples$"),
        ({}, 3, "norm1.group is 3, but must divide config.batch_size, 16$"),
        ({}, 1, r"norm1.group is 1, but must be 0 \(the whole batch\) or a whole number from 2 on$"),
        (
            {"accumulation_steps": 4},
            0,
            r"the whole batch for norm1, norm2: add --config.net.layers.norm1.group=4 --\S*=4$",
        ),
        (
            {"accumulation_steps": 16},
            0,
            "norm1, norm2: set fewer accumulation steps, and a group that divides a part$",
        ),
    ],
)
def test_wrong_batches_for_batch_normalization_are_refused(tiny, settings, group, message):
    batch_norm(tiny)
    tiny.net.layers = replaced(tiny.net.layers, "norm1", group=group)
    tiny.update_from_flattened_dict(settings)
    with pytest.raises(UserError, match=message):
        validate(tiny)


def test_the_advised_groups_make_accumulation_possible(tiny):
    batch_norm(tiny)
    tiny.accumulation_steps = 4
    with pytest.raises(UserError) as refused:
        validate(tiny)
    _, _, flags = str(refused.value).partition(": add ")
    validate(override(tiny, flags.split()))


def test_batch_normalization_beside_response_normalization_is_refused(tiny):
    tiny.net.layers = after(tiny.net.layers, "conv2", BatchNorm("norm2"))
    assert any(isinstance(layer, LRN) for layer in tiny.net.layers)
    with pytest.raises(
        UserError,
        match=r"both batch normalization \(norm2\) and response normalization \(norm1\): remove one",
    ):
        validate(tiny)
