"""Overrides, --config.KEY=VALUE."""

import pytest

from alexnet_jax import UserError
from alexnet_jax.config.overrides import data_location, override
from alexnet_jax.config.saved import from_json, to_json
from alexnet_jax.config.validate import validate


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning.rate=1", "config.learning.rate does not exist: it is called optimizer.learning_rate now"),
        ("learning.cuts=(1,2)", "called schedule.boundaries now"),
        ("learning.layers.conv1.bias_rate=1", "called optimizer.layers.conv1.bias_learning_rate now"),
        ("optimizer.layers=3", "name a layer and its setting, such as optimizer.layers.fc8.learning_rate"),
        ("optimizer.layers.conv1=3", "name a layer and its setting"),
        ("factor=3", "did you mean schedule.factor"),
        ("optimizer.batch_size=3", "did you mean batch_size"),
        ("data.cropsize=3", "did you mean data.crop_size"),
        ("net.layers.conv9.std=1", "there is no layer conv9.*did you mean conv"),
        ("net.layers.conv1.kernels=1", r"conv1 has no field kernels \(did you mean kernel\?\); it has name"),
        ("net.layers.conv1=3", "only fields of layers can be overridden, such as net.layers.fc8.std"),
        ("net.layers.conv1.layers=3", "conv1 has no field layers"),
    ],
)
def test_unknown_settings_are_refused_with_similar_or_new_names(tiny, word, message):
    with pytest.raises(UserError, match=message):
        override(tiny, [f"--config.{word}"])


def test_values_get_the_type_of_their_setting(tiny):
    words = ["mesh=(2, 1)", "num_epochs=3", "data.flip=true", "data.cache_dir=a=b", "num_steps=7"]
    words += ["optimizer.layers.conv1.boundaries=(1, 2)"]
    found = override(tiny, [f"--config.{word}" for word in words])
    assert (found.mesh, found.data.flip, found.data.cache_dir, found.num_steps) == ((2, 1), True, "a=b", 7)
    assert isinstance(found.num_epochs, float)
    assert found.optimizer.layers.conv1.boundaries == (1, 2)


def test_values_of_layers_that_the_recipe_sets_are_checked_too(tiny):
    tiny.optimizer.layers = {"conv1": {"learning_rate": 0.1, "boundaries": (1.0,)}}
    for word, message in (
        ("learning_rate=fast", "conv1.learning_rate is fast, but must be a number"),
        ("boundaries=5", "conv1.boundaries is 5, but must be numbers in parentheses"),
    ):
        with pytest.raises(UserError, match=message):
            validate(
                override(tiny.copy_and_resolve_references(), [f"--config.optimizer.layers.conv1.{word}"])
            )
    found = override(tiny, ["--config.optimizer.layers.conv1.learning_rate=0.2"])
    assert found.optimizer.layers.conv1.to_dict() == {"learning_rate": 0.2, "boundaries": (1.0,)}


def test_a_layer_for_which_the_recipe_has_no_table_is_refused(tiny):
    tiny.optimizer.layers = {"conv1": 0.1}
    with pytest.raises(UserError, match=r"conv1 is 0\.1, but must be a table: set"):
        validate(override(tiny, ["--config.optimizer.layers.conv1.learning_rate=0.2"]))


@pytest.mark.parametrize("key", ["schedule.boundaries", "optimizer.layers.conv1.boundaries"])
def test_a_schedule_may_ignore_boundaries(tiny, key):
    """A member of a sweep may set them, and the user another schedule for all members."""
    validate(override(tiny, [f"--config.{key}=(0.5,)", "--config.schedule.name=plateau"]))


def test_fields_of_layers(tiny):
    words = ["conv1.padding=(1, 1)", "conv2.std=fan_in", "drop6.rate=0.25"]
    validate(found := override(tiny, [f"--config.net.layers.{word}" for word in words]))
    layers = {layer.name: layer for layer in found.net.layers}
    assert layers["conv1"].padding == (1, 1)
    assert (layers["conv2"].std, layers["drop6"].rate) == ("fan_in", 0.25)
    for word in ("conv1.padding=4", "conv2.std=narrow", "drop6.rate=1.5"):
        with pytest.raises(UserError, match=r"net.layers: .* is .*, but must be"):
            validate(override(tiny, [f"--config.net.layers.{word}"]))


def test_none_unsets_a_setting_that_is_off_by_default(tiny):
    words = ["num_steps=None", "data.cache_dir=None", "data.validation=None"]
    found = override(tiny, [f"--config.{word}" for word in words])
    assert (found.num_steps, found.data.cache_dir, found.data.validation) == (None, None, None)
    assert override(found, ["--config.num_steps=7"]).num_steps == 7
    with pytest.raises(UserError, match="takes a whole number, not 'None'"):
        override(tiny, ["--config.batch_size=None"])


def test_a_workdir_without_a_place_of_its_cache_may_get_one(tiny):
    tiny.data.cache_dir = None
    words = [f"--config.data.{name}=/x" for name in ("cache_dir", "cache_from")]
    for config in (tiny, from_json(to_json(tiny))):
        assert data_location("evaluate", config, words) == {"cache_dir": "/x", "cache_from": "/x"}
        assert config.data.cache_dir is None


def test_a_verb_may_take_other_settings_which_are_checked(tiny):
    words, others = (
        ["--config.data.cache_dir=/x", "--config.step_timeout_minutes=2"],
        ["step_timeout_minutes"],
    )
    assert data_location("evaluate", tiny, words, others) == {"cache_dir": "/x"}
    with pytest.raises(UserError, match="step_timeout_minutes can't change after training"):
        data_location("report", tiny, words)
    with pytest.raises(UserError, match=r"step_timeout_minutes is -1\.0"):
        data_location("evaluate", tiny, ["--config.step_timeout_minutes=-1"], others)
