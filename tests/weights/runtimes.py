"""The logits that an exported file gives, as a user of its format computes them. Images are NHWC."""

import runpy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from jax import export

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="CI does not install PyTorch")


def in_onnx(done, images):
    session = onnxruntime.InferenceSession(done.paths[0], providers=["CPUExecutionProvider"])
    assert [(x.name, x.shape[0]) for x in session.get_inputs()] == [("images", "batch")]
    return session.run(["logits"], {"images": images.transpose(0, 3, 1, 2)})[0]


def in_stablehlo(done, images):
    content = Path(done.paths[0]).read_bytes()
    return np.asarray(export.deserialize(bytearray(content)).call(images))


def in_torch(done, images):
    import torch

    network = torch_network(done).eval()
    with torch.inference_mode():
        return network(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()


def torch_network(done):
    """Return the generated module, with the arrays of a .pth or a .safetensors."""
    import torch

    weights, module = done.paths[:2]
    network = runpy.run_path(module)["Network"]()
    if weights.endswith(".pth"):
        arrays = torch.load(weights, weights_only=True)
    else:
        from safetensors.torch import load_file

        arrays = load_file(weights)
    network.load_state_dict(arrays, strict=True)
    return network


RUNTIMES = {"onnx": in_onnx, "stablehlo": in_stablehlo, "torch": in_torch, "safetensors": in_torch}
EVERY_RUNTIME = [
    "onnx",
    "stablehlo",
    pytest.param("torch", marks=needs_torch),
    pytest.param("safetensors", marks=needs_torch),
]
