"""Recipes: variants, settings that make no sense, and going on with another config."""

import pytest
from ml_collections import ConfigDict

from alexnet_jax import UserError, build, get_config
from alexnet_jax.config import base, saved
from alexnet_jax.config.validate import validate
from tests.conftest import CONFIGS, RECIPES

RECIPES_THERE_ARE = [path for path in sorted(CONFIGS.glob("*.py")) if "def get_config" in path.read_text()]


@pytest.mark.parametrize("path", RECIPES_THERE_ARE, ids=lambda path: path.stem)
def test_recipes_load_and_survive_json(path):
    loaded = get_config(str(path))
    again = saved.from_json(saved.to_json(loaded))
    assert saved.changes(loaded, again) == []
    assert saved.to_json(again) == saved.to_json(loaded)


def test_variants_combine_in_any_order():
    a, b = (get_config(f"{CONFIGS}/alexnet.py:{v}") for v in ("no_lrn,source,bf16", "bf16,source,no_lrn"))
    assert saved.changes(a, b) == []
    assert (a.dtype, a.schedule.boundaries) == ("bfloat16", (25, 51, 79))


def layers_of(variants, recipe="alexnet"):
    return {layer.name: layer for layer in get_config(f"{CONFIGS}/{recipe}.py:{variants}").net.layers}


def test_small_bias_is_a_tenth_where_the_paper_has_one():
    paper, small = layers_of(""), layers_of("small_bias")
    biases = {name: (paper[name].bias, small[name].bias) for name in paper if hasattr(paper[name], "bias")}
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert biases == {name: (1.0, 0.1) if name in ones else (0.0, 0.0) for name in biases}


def test_caffe_is_bvlc_alexnet():
    c = get_config(f"{CONFIGS}/alexnet.py:caffe")
    layers = layers_of("caffe")
    assert (c.data.crop_size, c.batch_size, c.optimizer.learning_rate, c.optimizer.bias_learning_rate) == (
        227,
        256,
        0.01,
        0.02,
    )
    assert layers["conv1"].padding == (0, 0)
    norm = layers["norm2"]
    assert (norm.k, norm.alpha, norm.divide_alpha, norm.reads, norm.window) == (1.0, 1e-4, True, "all", 5)
    assert (layers["fc6"].std, layers["fc8"].std, layers["conv2"].bias) == (0.005, 0.01, 0.1)


def test_batch256_doubles_the_rate():
    c = get_config(f"{CONFIGS}/alexnet.py:batch256")
    assert (c.batch_size, c.optimizer.learning_rate, c.optimizer.bias_learning_rate) == (256, 0.02, 0.02)


@pytest.mark.parametrize(
    ("variants", "cuts", "epochs"), [("ilsvrc2010", (), 90), ("source,ilsvrc2010", (23, 51, 78), 93)]
)
def test_ilsvrc2010_has_the_cuts_of_its_run(variants, cuts, epochs):
    c = get_config(f"{CONFIGS}/alexnet.py:{variants}")
    assert (c.data.source, c.schedule.boundaries, c.num_epochs) == ("folder:ILSVRC2010", cuts, epochs)
    if "source" in variants:
        conv1 = c.optimizer.layers.conv1
        assert (conv1.boundaries, conv1.frozen_epochs, c.data.color_noise_epochs) == ((23, 51, 68), 72, 68)


def test_a_folder_trains_the_papers_net_with_its_own_classes():
    paper, folder = layers_of("bf16"), layers_of("bf16", "folder")
    assert {name for name in paper if paper[name] != folder[name]} == {"fc8"}
    assert folder["fc8"].classes == 0
    with pytest.raises(UserError, match="as many classes as the data"):
        build(get_config(f"{CONFIGS}/folder.py"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("alexnet.py:owt,source", "owt and source contradict each other"),
        ("cifar10.py:quick,lrn18", "quick and lrn18 contradict each other"),
        ("alexnet.py:one_towr", "no variant one_towr .did you mean one_tower"),
        ("nothere.py", "no config file"),
    ],
)
def test_variants_and_files_that_are_not_there(path, message):
    with pytest.raises(UserError, match=message):
        get_config(f"{CONFIGS}/{path}")


def test_a_recipe_that_breaks_is_one_line(tmp_path):
    (tmp_path / "bad.py").write_text("def get_config(variants=''):\n    return 1 / 0\n")
    with pytest.raises(UserError, match="ZeroDivisionError: division by zero"):
        get_config(str(tmp_path / "bad.py"))


def test_the_biases_rate_follows_the_rate_unless_it_is_set():
    c = base()
    c.optimizer.learning_rate = 0.5
    assert c.optimizer.bias_learning_rate == 0.5
    c.optimizer.bias_learning_rate = 0.1
    assert c.optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", 0),
        ("num_epochs", float("nan")),
        ("num_steps", -1),
        ("seed", -1),
        ("optimizer.learning_rate", -0.1),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.learning_rate", float("inf")),
        ("optimizer.momentum", 1.0),
        ("optimizer.weight_decay", -1.0),
        ("schedule.name", "cosine"),
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
    ],
)
def test_settings_that_make_no_sense(tiny, key, value):
    section, _, name = key.rpartition(".")
    (tiny[section] if section else tiny)[name] = value
    with pytest.raises(UserError, match=f"config.{key}"):
        validate(tiny)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"conv9": {"learning_rate": 0.1}}, "conv9: the net's layers are conv1, conv2, fc6, fc8"),
        ({"fc8": {"decay": 0.1}}, "fc8.decay: there are learning_rate"),
        ({"fc8": {"learning_rate": -0.1}}, "fc8.learning_rate is -0.1"),
    ],
)
def test_overrides_of_layers_are_checked(tiny, layers, message):
    tiny.optimizer.layers = ConfigDict(layers)
    with pytest.raises(UserError, match=message):
        validate(tiny)


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
def test_how_the_paper_was_trained_may_change(key, value):
    (line, *_) = changed(key, value)
    assert str(value if key != "mesh" else [2, 1]) in line


@pytest.mark.parametrize(
    ("key", "value"),
    [("batch_size", 8), ("seed", 1), ("data.flip", True), ("dtype", "bfloat16"), ("net.towers", 1)],
)
def test_what_makes_another_run_may_not(key, value):
    with pytest.raises(UserError, match=f"runs/x holds a run with {key} = "):
        changed(key, value)


def test_the_layer_and_field_that_changed_are_named():
    from alexnet_jax.layers import replaced

    layers = get_config(f"{RECIPES / 'tiny.py'}").net.layers
    with pytest.raises(UserError, match=r"net.layers.conv2.maps = 8, the config says 9"):
        changed("net.layers", replaced(layers, "conv2", maps=9))
