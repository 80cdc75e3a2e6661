"""Caffe's networks, written by hand in protobuf, give the same logits here. All weights are random."""

import struct

import numpy as np
import pytest

from alexnet_jax import UserError, get_config, restore
from alexnet_jax.weights import caffe
from alexnet_jax.weights.imported import import_weights
from tests.weights.forward import caffe_alexnet, log_softmax, photograph, random_arrays

SHAPES = {
    "conv1": (96, 3, 11, 11),
    "conv2": (256, 48, 5, 5),
    "conv3": (384, 256, 3, 3),
    "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3),
    "fc6": (4096, 9216),
    "fc7": (4096, 4096),
    "fc8": (1000, 4096),
}
OLD_TYPES = {"Convolution": 4, "InnerProduct": 14, "LRN": 15, "Pooling": 17, "ReLU": 18}
"""Caffe's enumeration of layers in V1LayerParameter."""


def varint(number):
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number, value):
    """Encode a field of a message: an integer, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(array, old, dtype="<f4"):
    """Encode a BlobProto. The old format has four dimensions, in fields of their own."""
    if old:
        dims = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(field(i, n) for i, n in enumerate(dims, start=1))
    else:
        shape = field(7, field(1, b"".join(map(varint, array.shape))))
    return shape + field(5 if dtype == "<f4" else 8, array.astype(dtype).tobytes())


def network(blobs, old=False, pool_first=False, dtype="<f4", classifier="fc8"):
    """Encode a NetParameter with the layers that matter, and one without weights."""
    first = (
        [("pool1", "Pooling"), ("norm1", "LRN")] if pool_first else [("norm1", "LRN"), ("pool1", "Pooling")]
    )
    layers = [("conv1", "Convolution"), ("relu1", "ReLU"), *first]
    layers += [(name, "Convolution" if name.startswith("conv") else "InnerProduct") for name in [*blobs][1:]]
    encoded = [field(1, b"a network")]
    for name, kind in layers:
        its_name = (classifier if name == "fc8" else name).encode()
        head = (
            field(4, its_name) + field(5, OLD_TYPES[kind])
            if old
            else field(1, its_name) + field(2, kind.encode())
        )
        arrays = [field(6 if old else 7, blob(x, old, dtype)) for x in blobs.get(name, ())]
        encoded.append(field(2 if old else 100, head + b"".join(arrays)))
    return b"".join(encoded)


def random_blobs(shapes, seed=0):
    kernels = random_arrays(shapes, seed)
    biases = random_arrays({name: shape[:1] for name, shape in shapes.items()}, seed + 1)
    kernels["conv1"] /= 60  # pixels are grey levels
    return {name: (kernels[name], biases[name]) for name in shapes}


@pytest.mark.slow
@pytest.mark.parametrize("old", [True, False])
def test_the_logits_are_those_of_a_network_in_numpy(tmp_path, old):
    blobs = random_blobs(SHAPES)
    is_caffenet = not old
    (tmp_path / "net.caffemodel").write_bytes(network(blobs, old, is_caffenet))
    mean_bgr = np.random.default_rng(3).uniform(90, 130, (3, 256, 256)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(blob(mean_bgr[None], old=True))
    what = import_weights(
        "caffe", f"{tmp_path}/net.caffemodel", tmp_path / "w", f"{tmp_path}/mean.binaryproto"
    )
    name = "BVLC's CaffeNet" if is_caffenet else "BVLC's AlexNet"
    assert what == f"{name}, 60,965,224 parameters, 1,000 classes"
    image = photograph()
    bgr = image[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) - mean_bgr
    expected = caffe_alexnet(blobs, bgr[:, 14:241, 14:241], is_caffenet)
    assert np.ptp(expected) > 1  # the logits depend on the image
    net = restore(tmp_path / "w")
    np.testing.assert_allclose(
        np.log(net.predict_proba(image[None])[0]), log_softmax(expected), rtol=1e-4, atol=1e-4
    )
    assert net.config.to_dict() == get_config(f"alexnet:{'caffenet' if is_caffenet else 'caffe'}").to_dict()


SMALL = random_blobs({"conv1": (4, 3, 2, 2), "fc8": (5, 7)})


def read(tmp_path, content, mean=None):
    (tmp_path / "net.caffemodel").write_bytes(content)
    return caffe.read(f"{tmp_path}/net.caffemodel", mean)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("pool_first", [True, False])
def test_both_formats_are_read(tmp_path, old, dtype, pool_first):
    found = read(tmp_path, network(SMALL, old, pool_first, dtype, classifier="fc8_flowers"))
    assert found.recipe == ("alexnet:caffenet" if pool_first else "alexnet:caffe")
    assert list(found.arrays) == ["conv1.weight", "conv1.bias", "fc8_flowers.weight", "fc8_flowers.bias"]
    for name, arrays in (("conv1", SMALL["conv1"]), ("fc8", SMALL["fc8"])):
        for x, its_name in zip(arrays, found.names[name], strict=True):
            np.testing.assert_array_equal(found.arrays[its_name], x)
    assert found.classes() == 5
    kernel = SMALL["conv1"][0]
    np.testing.assert_array_equal(found.for_rgb(kernel)[:, 0], kernel[:, 2])
    assert found.mean_image_HxWx3[3, 4].tolist() == [123, 117, 104]
    assert found.notes == (
        "without --mean, ImageNet's mean of each channel is subtracted, not its mean image",
    )


@pytest.mark.parametrize("old", [True, False])
def test_the_mean_image_becomes_rgb(tmp_path, old):
    bgr = np.arange(3 * 256 * 256, dtype=np.float32).reshape(1, 3, 256, 256)
    (tmp_path / "mean").write_bytes(blob(bgr, old))
    found = read(tmp_path, network(SMALL), f"{tmp_path}/mean")
    np.testing.assert_array_equal(found.mean_image_HxWx3, bgr[0, ::-1].transpose(1, 2, 0))
    assert found.notes == ()


def refusal(tmp_path, content, mean=None):
    with pytest.raises(UserError) as refused:
        read(tmp_path, content, mean)
    assert "\n" not in str(refused.value)
    return str(refused.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((1, 3, 224, 224)),
            "mean holds an array of shape (3, 224, 224), but the mean image must be",
        ),
        (
            np.zeros((1, 1, 256, 256)),
            "mean holds an array of shape (256, 256), but the mean image must be (3,",
        ),
        (np.full((1, 3, 256, 256), np.nan), "mean: the mean image has an element that is not finite"),
    ],
)
def test_another_mean_image_is_refused(tmp_path, array, message):
    (tmp_path / "mean").write_bytes(blob(array, old=True))
    assert refusal(tmp_path, network(SMALL), f"{tmp_path}/mean").startswith(message)


def test_damaged_files_and_other_files_are_refused(tmp_path):
    whole = network(SMALL)
    for content in (whole[:-3], whole[:30], b"<html>not found</html>", b"\x80\x04"):
        assert refusal(tmp_path, content).startswith("net.caffemodel is damaged or no file of Caffe (")
    assert refusal(tmp_path, b"").startswith(
        "net.caffemodel has no layers with weights: take the .caffemodel"
    )
    without_lrn = whole.replace(b"LRN", b"XYZ")
    assert "is neither BVLC's AlexNet nor CaffeNet: it has no LRN layers" in refusal(tmp_path, without_lrn)
    too_few = whole.replace(struct.pack("<f", SMALL["fc8"][1][-1]), b"")
    assert refusal(tmp_path, too_few).startswith("net.caffemodel is damaged")
    negative = blob(np.zeros((1, 1, 1, 3)), old=True).replace(field(1, 1), field(1, 2**64 - 1))
    layer = field(100, field(1, b"conv1") + field(7, negative))
    assert refusal(tmp_path, layer).startswith(
        "net.caffemodel is damaged (conv1.weight has 12 bytes for the shape (-1"
    )


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is damaged or no file of Caffe"):
        caffe.read(str(tmp_path), None)
