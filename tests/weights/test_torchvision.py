"""torchvision's alexnet gives the same logits here. All weights are random."""

import os
import sys
import zipfile

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from alexnet_jax import UserError, get_config, restore
from alexnet_jax.weights import torchvision
from alexnet_jax.weights.imported import import_weights
from tests.weights.forward import log_softmax, photograph, random_arrays, torchvision_alexnet

SHAPES = {
    "features.0.weight": (64, 3, 11, 11),
    "features.0.bias": (64,),
    "features.3.weight": (192, 64, 5, 5),
    "features.3.bias": (192,),
    "features.6.weight": (384, 192, 3, 3),
    "features.6.bias": (384,),
    "features.8.weight": (256, 384, 3, 3),
    "features.8.bias": (256,),
    "features.10.weight": (256, 256, 3, 3),
    "features.10.bias": (256,),
    "classifier.1.weight": (4096, 9216),
    "classifier.1.bias": (4096,),
    "classifier.4.weight": (4096, 4096),
    "classifier.4.bias": (4096,),
    "classifier.6.weight": (1000, 4096),
    "classifier.6.bias": (1000,),
}
"""The state dict of torchvision 0.29.1; `test_torchvision_itself` compares it."""

MEAN, STD = (np.array(x, np.float32) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@pytest.mark.slow
def test_the_logits_are_those_of_a_network_in_numpy(tmp_path):
    arrays = random_arrays(SHAPES)
    save_file(arrays, tmp_path / "net.safetensors")
    what = import_weights("torchvision", f"{tmp_path}/net.safetensors", tmp_path / "w")
    assert what == "torchvision's alexnet, 61,100,840 parameters, 1,000 classes"
    image = photograph()
    transformed = (image[16:240, 16:240] / np.float32(255) - MEAN) / STD
    expected = torchvision_alexnet(arrays, transformed.transpose(2, 0, 1))
    assert np.ptp(expected) > 1  # the logits depend on the image
    net = restore(tmp_path / "w")
    np.testing.assert_allclose(
        np.log(net.predict_proba(image[None])[0]), log_softmax(expected), rtol=1e-4, atol=1e-4
    )
    assert net.config.to_dict() == get_config("alexnet:owt").to_dict()
    assert (net.step, net.data.class_names[0], net.data.class_words[0]) == (
        0,
        "n01440764",
        "tench, Tinca tinca",
    )


@pytest.mark.slow
def test_torchvision_itself(tmp_path):
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    net = models.alexnet().eval()
    assert {name: tuple(x.shape) for name, x in net.state_dict().items()} == SHAPES
    torch.save(net.state_dict(), tmp_path / "net.pth")
    import_weights("torchvision", f"{tmp_path}/net.pth", tmp_path / "w")
    from PIL import Image
    from torchvision.transforms._presets import ImageClassification

    from alexnet_jax.data.images import square

    wide = np.tile(photograph(), (1, 2, 1))[:, :411]
    with torch.no_grad():
        logits = net(ImageClassification(crop_size=224)(Image.fromarray(wide))[None])[0].numpy()
    restored = restore(tmp_path / "w")
    image, _ = square(wide, 256, restored.config.data.resize)
    np.testing.assert_allclose(
        np.log(restored.predict_proba(image[None])[0]), log_softmax(logits), rtol=1e-4, atol=1e-4
    )


def test_safetensors_of_any_precision_are_read(tmp_path):
    several = {"features.0.bias": np.ones(64, np.float16), "classifier.6.bias": np.ones(7)}
    several["features.3.bias"] = np.ones(3, jax.numpy.bfloat16)
    save_file(several, tmp_path / "net.safetensors")
    found = torchvision.read(f"{tmp_path}/net.safetensors", None)
    assert {x.dtype.name for x in found.arrays.values()} == {"float32"}
    assert (found.classes(), found.recipe, found.mean_image_HxWx3.shape) == (7, "alexnet:owt", (256, 256, 3))
    np.testing.assert_allclose(found.mean_image_HxWx3[5, 6], (123.675, 116.28, 103.53))
    with pytest.raises(UserError, match="--mean is for --from=caffe"):
        torchvision.read("net.pth", "mean.binaryproto")


def refusal(path):
    with pytest.raises(UserError) as refused:
        torchvision.read(str(path), None)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{path}")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", None])
def test_damaged_safetensors_are_refused(tmp_path, content):
    path = tmp_path / "net.safetensors"
    if content is None:  # cut off
        save_file({"a": np.ones(1000)}, path)
        content = path.read_bytes()[:-1]
    path.write_bytes(content)
    assert refusal(path).startswith(" is damaged or no safetensors file (")


@pytest.mark.parametrize(("suffix", "extra"), [("safetensors", "safetensors"), ("pth", "torch")])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, suffix, extra):
    monkeypatch.setitem(sys.modules, extra, None)
    assert refusal(tmp_path / f"net.{suffix}").endswith(
        f" needs the extra {extra}: pip install -e '.[{extra}]'"
    )


class Program:
    """What would run a command if it were unpickled."""

    def __reduce__(self):
        return os.system, ("touch was_run",)


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_of_more_than_tensors_is_refused(tmp_path, monkeypatch, new):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pth"
    torch.save({"features.0.weight": Program()}, path, _use_new_zipfile_serialization=new)
    assert refusal(path).startswith(
        " is refused, because it unpickles posix.system, which is no tensor and may"
    )
    assert not (tmp_path / "was_run").exists()
    torch.save(torch.nn.Linear(2, 3), path, _use_new_zipfile_serialization=new)
    assert "it unpickles torch.nn.modules.linear.Linear, which" in refusal(path)
    for more, message in (
        ([1, 2], " holds an object of type list, but must hold a state dict: save the state dict alone"),
        ({"epoch": 3}, ": epoch is of type int, but must be a tensor: save the state dict alone"),
        ({"a": torch.eye(3).to_sparse()}, ": a is sparse or quantized, but must be a dense tensor"),
    ):
        torch.save(more, path, _use_new_zipfile_serialization=new)
        assert refusal(path).startswith(message)


@pytest.mark.parametrize("new", [True, False])
def test_state_dicts_of_torch_are_read_and_damaged_ones_refused(tmp_path, new):
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.pth"
    tensors = {"a": torch.ones(3, dtype=torch.bfloat16), "b": torch.nn.Parameter(torch.ones(2, 100))}
    torch.save(tensors, path, _use_new_zipfile_serialization=new)
    assert zipfile.is_zipfile(path) == new
    found = torchvision.read(str(path), None).arrays
    assert {name: (x.shape, x.dtype.name) for name, x in found.items()} == {
        "a": ((3,), "float32"),
        "b": ((2, 100), "float32"),
    }
    whole = path.read_bytes()
    for content in (b"", b"<html>", whole[:9], whole[: len(whole) // 2], whole[:-9]):
        path.write_bytes(content)
        assert refusal(path).startswith(" is damaged")
