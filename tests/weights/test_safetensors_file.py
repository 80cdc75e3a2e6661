"""safetensors: the arrays, the metadata and the model card."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import yaml
from safetensors import safe_open

from alexnet_jax import export, restore, torch_layout
from alexnet_jax.config import saved
from tests.conftest import HOSTILE_NAMES
from tests.weights.networks import network


@pytest.fixture
def exported(trained, tmp_path):
    export(trained, "safetensors", tmp_path / "tiny.safetensors")
    return restore(trained), tmp_path


def card(path):
    """Return the metadata and the text of a model card."""
    empty, head, text = path.read_text().split("---\n", 2)
    assert not empty
    return yaml.safe_load(head), text


def test_the_file_has_the_arrays_in_pytorchs_layout_and_the_mean_image(exported):
    net, directory = exported
    with safe_open(directory / "tiny.safetensors", "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    expected = torch_layout(net.params, net.config) | {"mean_image": net.data.mean_image.transpose(2, 0, 1)}
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])


def test_the_metadata_has_the_config_without_places_of_this_machine(exported):
    net, directory = exported
    with safe_open(directory / "tiny.safetensors", "np") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["step"]) == ("pt", "40")
    assert json.loads(metadata["classes"]) == [str(i) for i in range(10)]
    config = saved.from_json(json.loads(metadata["config"]))
    assert config.net.layers == net.config.net.layers
    assert net.config.data.cache_dir is not None
    assert config.data.cache_dir is None
    assert net.config.data.cache_dir not in "".join(metadata.values())


def test_the_metadata_has_the_type_of_the_training(tmp_path):
    export(network("digits.py", "bfloat16"), "safetensors", tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", "np") as file:
        assert json.loads(file.metadata()["config"])["dtype"] == "bfloat16"


def test_the_card_of_an_imported_network_has_no_training(tmp_path):
    export(dataclasses.replace(network("digits.py"), step=0), "safetensors", tmp_path / "net.safetensors")
    _, text = card(tmp_path / "net.md")
    assert "\nAn AlexNet for 3 classes.\n" in text
    assert "\nNot measured.\n" in text
    assert "train" not in text


def test_the_card_has_what_the_hub_shows(exported):
    _, directory = exported
    head, text = card(directory / "tiny.md")
    assert head == {"library_name": "pytorch", "pipeline_tag": "image-classification", "tags": ["alexnet"]}
    for line in (
        "# tiny",
        "for 10 classes, trained with alexnet_jax for 40 steps",
        "It has 4,490 parameters in 2 towers",
        "sklearn:digits, version",
        "1,293 images for train",
        "| validation | 1 | 144 | ",
        "take the central 7x7 of that, and subtract the same part of `mean_image`. Divide by 64.0.",
        "takes float images of shape (batch, 3, 7, 7)",
        "from tiny_module import Network",
        'network.load_state_dict(load_file("tiny.safetensors"))',
        "| 9 | 9 |",
    ):
        assert line.lower() in text.lower()
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("resize", "square"),
    [
        (
            "crop",
            "Scale the shorter side of the image to 8 pixels (the mean over areas), and take the central",
        ),
        ("squash", "Scale both sides of the image to 8 pixels"),
        ("torchvision", "bilinear with antialiasing"),
    ],
)
def test_the_card_says_how_an_image_becomes_a_square(trained, tmp_path, resize, square):
    net = restore(trained)
    net.config.data.resize = resize
    export(net, "safetensors", tmp_path / "a.safetensors")
    assert square in card(tmp_path / "a.md")[1]


def test_the_card_has_only_error_rates_of_the_exported_step(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "w")
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    (last,) = [line for line in lines if line["kind"] == "eval" and line["step"] == 40]
    more = last | {"split": "test", "views": 10, "examples": 360, "top1_error": 0.125, "top5_error": 0.0025}
    with (tmp_path / "w" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(more) + "\n")
    export(tmp_path / "w", "safetensors", tmp_path / "a.safetensors", preprocessing=True)
    _, text = card(tmp_path / "a.md")
    assert "| test | 10 | 360 | 12.50% | 0.25% |" in text
    assert "It takes uint8 images of shape\n(batch, 3, 8, 8)" in text
    export(tmp_path / "w", "safetensors", tmp_path / "b.safetensors", step=30)
    assert "Not measured." in card(tmp_path / "b.md")[1]


def test_names_of_strangers_stay_text(tmp_path):
    net = network("digits.py")
    names = tuple(HOSTILE_NAMES[:3])
    net = dataclasses.replace(net, data=dataclasses.replace(net.data, class_words=names, source="<b>`x`"))
    export(net, "safetensors", tmp_path / "<i>.safetensors")
    _, text = card(tmp_path / "<i>.md")
    assert "# &#60;i&#62;\n" in text
    assert "&#60;b&#62;&#96;x&#96;, version 1: 10 images for train." in text
    assert not set("\x1b\r\u202e") & set(text)
    assert text.count("| 1 | two\\nlines\\r |") == 1
