"""The config.json of workdirs, and what may change when a run resumes."""

import json

import pytest

from alexnet_jax import UserError, get_config
from alexnet_jax.config import saved
from alexnet_jax.training.workdir import read_workdir
from tests.conftest import CONFIGS, RECIPES

TRAINING_RECIPES = [path for path in sorted(CONFIGS.glob("*.py")) if "def get_config" in path.read_text()]


@pytest.mark.parametrize("path", TRAINING_RECIPES, ids=lambda path: path.stem)
def test_recipes_load_and_survive_json(path):
    loaded = get_config(str(path))
    again = saved.from_json(saved.to_json(loaded))
    assert saved.changes(loaded, again) == []
    assert saved.to_json(again) == saved.to_json(loaded)


def changed(key, value):
    old, new = (get_config(f"{RECIPES / 'tiny.py'}") for _ in range(2))
    section, _, name = key.rpartition(".")
    (new[section] if section else new)[name] = value
    return saved.refuse_changes(old, new, "runs/x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.learning_rate", 0.5),
        ("num_steps", 99),
        ("eval_every", 3),
        ("mesh", (2, 1)),
        ("keep_checkpoints", 9),
    ],
)
def test_settings_that_may_change_when_a_run_resumes(key, value):
    (line, *_) = changed(key, value)
    assert str(value if key != "mesh" else [2, 1]) in line


@pytest.mark.parametrize(
    ("key", "value"),
    [("batch_size", 8), ("seed", 1), ("data.flip", True), ("dtype", "bfloat16"), ("net.towers", 1)],
)
def test_settings_that_may_not_change_when_a_run_resumes(key, value):
    with pytest.raises(UserError, match=f"runs/x holds a run with {key} = "):
        changed(key, value)


def test_the_layer_and_field_that_changed_are_named():
    from alexnet_jax.layers import replaced

    layers = get_config(f"{RECIPES / 'tiny.py'}").net.layers
    with pytest.raises(UserError, match=r"net.layers.conv2.features = 8, but the config has 9"):
        changed("net.layers", replaced(layers, "conv2", features=9))


def test_the_optimizer_may_not_change():
    with pytest.raises(UserError, match=r"runs/x holds a run with optimizer\.name = "):
        changed("optimizer.name", "other")


def test_a_workdir_that_was_moved_is_the_same(tmp_path):
    (tmp_path / "here" / "net").mkdir(parents=True)
    (tmp_path / "copy" / "net").mkdir(parents=True)
    (tmp_path / "link").symlink_to("here")
    here = str(tmp_path / "here" / "net")
    assert saved.same_workdir(here, here)
    assert saved.same_workdir(here, str(tmp_path / "link" / "net"))
    assert saved.same_workdir(str(tmp_path / "before" / "net"), here)
    assert not saved.same_workdir(str(tmp_path / "before" / "other"), here)
    assert not saved.same_workdir(here, str(tmp_path / "copy" / "net"))
    assert not saved.same_workdir(here, str(tmp_path / "nowhere" / "net"))
    assert not saved.same_workdir(here, None)
    assert saved.same_workdir(None, None)


def without_momentum(settings):
    del settings["optimizer"]["momentum"]


def with_learning(settings):
    settings["learning"] = {"rate": 0.1}


def with_deviation(settings):
    settings["data"]["color_noise_reading"] = "deviation"


def with_another_optimizer(settings):
    settings["optimizer"]["name"] = "lion"


def with_an_old_layer(settings):
    settings["net"]["layers"][0]["size_of_old"] = 3


def with_maps(settings):
    layer = settings["net"]["layers"][0]
    layer["maps"] = layer.pop("features")


def with_an_old_override(settings):
    settings["optimizer"]["layers"] = {"fc8": {"rate": 0.1}}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_momentum, "config.optimizer.momentum is missing"),
        (with_learning, "it is called optimizer.learning_rate now"),
        (with_deviation, "is called 'standard_deviation' now"),
        (with_another_optimizer, "config.optimizer.name is 'lion', but must be "),
        (with_an_old_layer, "net.layers: conv1 has the unknown field size_of_old"),
        (with_maps, "net.layers: conv1.maps is called features now"),
        (with_an_old_override, "is called optimizer.layers.fc8.learning_rate now"),
    ],
)
def test_a_config_of_another_version_is_refused_with_what_to_do(tiny, tmp_path, change, why):
    settings = saved.to_json(tiny)
    change(settings)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=rf"another version of alexnet_jax \(.*{why}.*\): train again in an"):
        read_workdir(tmp_path)


def test_a_config_may_lack_a_setting_on_which_no_result_depends(tiny):
    settings = saved.to_json(tiny)
    del settings["data"]["cache_from"]
    assert saved.from_json(settings).data.cache_from is None


def test_a_config_of_a_version_without_data_resize_has_its_default(tiny):
    settings = saved.to_json(tiny)
    del settings["data"]["resize"]
    assert saved.from_json(settings).data.resize == "crop"


@pytest.mark.parametrize(
    ("key", "value"), [("batch_size", "many"), ("batch_size", -1), ("data", 3), ("seed", None)]
)
def test_a_damaged_config_is_refused(tiny, tmp_path, key, value):
    settings = saved.to_json(tiny)
    settings[key] = value
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"is damaged|another version"):
        read_workdir(tmp_path)
