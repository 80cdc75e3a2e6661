"""Recipes: where they are found, what they may import, and their variants."""

import sys
import types

import pytest

from alexnet_jax import UserError, build, get_config
from alexnet_jax.config import saved
from alexnet_jax.config.recipe import beside, recipes
from tests.conftest import CONFIGS, RECIPES, every_variant


def test_variants_combine_in_any_order():
    a, b = (get_config(f"{CONFIGS}/alexnet.py:{v}") for v in ("no_lrn,source,bf16", "bf16,source,no_lrn"))
    assert saved.changes(a, b) == []
    assert (a.dtype, a.schedule.boundaries) == ("bfloat16", (25, 51, 79))


def layers_of(variants, recipe="alexnet"):
    return {layer.name: layer for layer in get_config(f"{CONFIGS}/{recipe}.py:{variants}").net.layers}


def test_small_bias_changes_biases_of_1_to_a_tenth():
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
    assert c.data.resize == "squash"


def test_caffenet_pools_before_it_normalizes_and_has_the_biases_of_the_paper():
    names = [name for name in layers_of("caffe") if name[:-1] in ("norm", "pool")]
    assert names == ["norm1", "pool1", "norm2", "pool2", "pool5"]
    caffenet, paper = layers_of("caffenet"), layers_of("")
    assert [name for name in caffenet if name in names] == ["pool1", "norm1", "pool2", "norm2", "pool5"]
    assert caffenet["norm2"] == layers_of("caffe")["norm2"]
    biases = [name for name in paper if hasattr(paper[name], "bias")]
    assert [caffenet[name].bias for name in biases] == [paper[name].bias for name in biases]


def test_batch256_doubles_the_learning_rate():
    c = get_config(f"{CONFIGS}/alexnet.py:batch256")
    assert (c.batch_size, c.optimizer.learning_rate, c.optimizer.bias_learning_rate) == (256, 0.02, 0.02)


@pytest.mark.parametrize(
    ("variants", "boundaries", "epochs"), [("ilsvrc2010", (), 90), ("source,ilsvrc2010", (23, 51, 78), 93)]
)
def test_ilsvrc2010_has_the_boundaries_of_its_run(variants, boundaries, epochs):
    c = get_config(f"{CONFIGS}/alexnet.py:{variants}")
    assert (c.data.source, c.schedule.boundaries, c.num_epochs) == ("folder:ILSVRC2010", boundaries, epochs)
    if "source" in variants:
        conv1 = c.optimizer.layers.conv1
        assert (conv1.boundaries, conv1.frozen_epochs, c.data.color_noise_epochs) == ((23, 51, 68), 72, 68)


def test_folder_is_the_papers_network_with_the_classes_of_the_folder():
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
        ("alexne.py", "no config file .*alexne.py .did you mean alexnet"),
    ],
)
def test_unknown_or_contradictory_variants_and_unknown_files_are_refused(path, message):
    with pytest.raises(UserError, match=message):
        get_config(f"{CONFIGS}/{path}")


def test_a_recipe_without_variants_needs_no_parameter(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from alexnet_jax import get_config as recipe\ndef get_config():\n    return recipe('digits')\n"
    )
    assert get_config(str(file)).batch_size == get_config("digits").batch_size
    with pytest.raises(UserError, match=r"get_config\(\) takes no variants: remove :no_lrn"):
        get_config(f"{file}:no_lrn")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1\ndef get_config(variants=''):\n    return 1 / 0\n", r"division by zero \(line 3\)"),
        ("import helper\n", r"ZeroDivisionError: division by zero \(helper.py, line 2\)"),
        ("x = (\n", r"SyntaxError: '\(' was never closed \(bad.py, line 1\)"),
        ("import sys\nsys.exit('no data here')\n", r"it calls sys.exit\('no data here'\) \(line 2\)"),
        ("class Odd(BaseException):\n    pass\n\n\nraise Odd('x')\n", r"Odd: x \(line 5\)"),
        ("def get_config(a, b):\n    pass\n", "missing 1 required positional argument: 'b'$"),
    ],
)
def test_a_recipe_that_fails_is_reported_in_one_line_with_its_number(tmp_path, body, message):
    (tmp_path / "bad.py").write_text(body)
    (tmp_path / "helper.py").write_text("\n1 / 0\n")
    with pytest.raises(UserError, match=f"bad.py can't be loaded: .*{message}"):
        get_config(str(tmp_path / "bad.py"))


def test_a_recipe_may_define_dataclasses_with_annotations_as_text(tmp_path):
    head = "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass Size:\n"
    file = minimal(
        tmp_path / "mine.py", "Size().x", head + "    x: int = 8\n    y: dataclasses.InitVar[int] = 3"
    )
    assert get_config(str(file)).batch_size == 8
    assert not [name for name in sys.modules if name.startswith("alexnet_jax_recipe")]


def minimal(path, batch_size="16", head=""):
    """Write a recipe that differs from the tiny one only in its batch size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"{head}\nfrom alexnet_jax.config import load\n"
        f"def get_config(variants=''):\n    c = load({str(RECIPES / 'tiny.py')!r} + ':' + variants)\n"
        f"    c.batch_size = {batch_size}\n    return c\n"
    )
    return path


def test_a_shipped_recipe_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_path = get_config(f"{CONFIGS}/alexnet.py:no_lrn,bf16")
    assert saved.changes(get_config("alexnet:no_lrn,bf16"), by_path) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("digts", "no recipe digts .did you mean digits.*: use a file, .* package .ablations, alexnet"),
        ("alexne:no_lrn", "no recipe alexne .did you mean alexnet"),
        ("alexnet:no_lm", "no variant no_lm .did you mean no_lrn"),
        ("configs/digit.py", "no config file configs/digit.py .did you mean digits"),
        ("a:b/y.py:no_lrn", "no config file a:b/y.py:"),
        ("ablations", "has no get_config.*alexnet-jax sweep"),
    ],
)
def test_an_unknown_recipe_is_refused_with_similar_names(path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        get_config(path)


def test_a_file_takes_precedence_over_a_shipped_recipe_of_its_name(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    minimal(tmp_path / "digits", "32")
    assert get_config("digits").batch_size == 32
    assert "note: digits is a file here; it is used instead of the package's" in capfd.readouterr().err
    assert get_config("./digits:plateau").schedule.name == "plateau"
    (tmp_path / "digits").unlink()
    (tmp_path / "digits").mkdir()  # a folder is not a recipe
    assert get_config("digits").batch_size == 16
    assert "digits is a file" not in capfd.readouterr().err


def test_a_path_may_have_a_colon(tmp_path):
    file = minimal(tmp_path / "a:b" / "c:d.py")
    assert get_config(str(file)).schedule.name == "steps"
    assert get_config(f"{file}:plateau,no_dropout").schedule.name == "plateau"
    assert get_config(f"{file}:").schedule.name == "steps"


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    minimal(tmp_path / "mine.py", "32")
    assert get_config("~/mine.py:plateau").batch_size == 32


def test_each_recipe_imports_the_modules_beside_it(tmp_path, monkeypatch):
    for number in (32, 64):
        (tmp_path / str(number) / "more").mkdir(parents=True)
        (tmp_path / str(number) / "helper.py").write_text("from more import size\n")
        (tmp_path / str(number) / "more" / "__init__.py").write_text(f"size = {number}\n")
        minimal(tmp_path / str(number) / "mine.py", "helper.size", "import helper")
    path, modules = list(sys.path), dict(sys.modules)
    for number in (32, 64, 32):
        assert get_config(str(tmp_path / str(number) / "mine.py")).batch_size == number
    assert sys.path == path
    assert {"helper", "more"}.isdisjoint(sys.modules)
    elsewhere = types.ModuleType("helper")
    monkeypatch.setitem(sys.modules, "helper", elsewhere)
    assert get_config(str(tmp_path / "64" / "mine.py")).batch_size == 64
    assert sys.modules["helper"] is elsewhere
    assert all(sys.modules.get(name) is module for name, module in modules.items())


def test_a_recipe_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "helper.py").write_text("raise ValueError('of the helper')\n")
    minimal(tmp_path / "mine.py", head="import helper")
    path = list(sys.path)
    with pytest.raises(UserError, match=r"mine\.py can't be loaded: ValueError: of the helper"):
        get_config(str(tmp_path / "mine.py"))
    assert sys.path == path
    assert "helper" not in sys.modules


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "c.learning.rate = 0.1",
            r"no learning: it is called optimizer.\* or schedule.\* now",
        ),
        ("c.optimiser.momentum = 0.1", "the config has no optimiser .did you mean optimizer"),
        ("c.batch_sise = 3", "config.batch_sise does not exist .did you mean batch_size"),
    ],
)
def test_a_recipe_with_an_unknown_setting_is_refused_in_one_line(tmp_path, line, message):
    minimal(tmp_path / "mine.py", f"16\n    {line}")
    with pytest.raises(UserError, match=message) as error:
        get_config(str(tmp_path / "mine.py"))
    assert "\n" not in str(error.value)


def test_recipes_lists_all_with_their_variants():
    found = {recipe.name: recipe for recipe in recipes()}
    assert [recipe.verb for recipe in found.values()] == ["train"] * 5 + ["sweep"] * 6
    assert {*found} == {file.stem for file in CONFIGS.glob("*.py")}
    assert found["digits"].variants == ("no_lrn", "no_crops", "no_dropout")
    assert found["digits"].summary.startswith("Handwritten digits through a small AlexNet")
    assert {"no_lrn", "bf16"} < {*found["alexnet"].variants} == {*found["folder"].variants}
    assert {"quick", "towers"} < {*found["cifar10"].variants}
    assert found["ablations"].variants == ("imagenet", "cifar10", "imagenette", "digits")


@pytest.mark.parametrize("recipe", [r for r in recipes() if r.verb == "train"], ids=lambda r: r.name)
def test_every_listed_variant_loads(recipe):
    for path in every_variant(recipe):
        get_config(path)


def test_a_sweep_finds_the_recipes_beside_it_before_the_shipped_ones(tmp_path):
    sweep = tmp_path / "sweep.py"
    minimal(tmp_path / "alexnet.py")
    assert beside(sweep, "alexnet.py:no_dropout") == f"{tmp_path}/alexnet.py:no_dropout"
    assert beside(sweep, "cifar10:quick") == "cifar10:quick"
    assert beside(sweep, "gone.py:a") == f"{tmp_path}/gone.py:a"
