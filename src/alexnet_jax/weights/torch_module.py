"""The source of a plain PyTorch module that computes what a network of ours computes.

Each of our layers is a submodule of an ``nn.Sequential``, under its own name. The state dict has the arrays
of `torch_layout`, and the mean image.
"""

import math
from collections.abc import Iterator

from ml_collections import ConfigDict

from alexnet_jax.errors import UserError
from alexnet_jax.layers import (
    LRN,
    AvgPool,
    BatchNorm,
    Classifier,
    Conv,
    Dense,
    Dropout,
    MapNorm,
    MaxPool,
    ReLU,
    Tanh,
)
from alexnet_jax.net.shapes import LayerShapes
from alexnet_jax.net.torch_layout import folded
from alexnet_jax.weights.groups import groups, towers_in
from alexnet_jax.weights.network import Network
from alexnet_jax.weights.rendering import render


def check(config: ConfigDict) -> None:
    """Check that PyTorch can express a network.

    Raises:
      UserError: it lacks a layer, the factor of a dropout can't be folded, or a module can't have a name.
    """
    for shapes, _ in folded(config):
        if "." in shapes.layer.name or not shapes.layer.name:
            raise UserError(f"a module of PyTorch can't have the name of the layer {shapes.layer.name!r}")


def source(network: Network) -> bytes:
    """Return the source of the module, UTF-8."""
    config, data = network.config, network.data
    rows, columns = network.crop
    height, width = data.image_size
    size = config.data.crop_size
    images = f"float (batch, 3, {size}, {size})"
    if network.preprocessing:
        images = f"uint8 (batch, 3, {height}, {width})"
    modules = [module for shapes, _ in folded(config) for module in _modules(shapes, config.net.towers)]
    return render(
        "torch_module.py.jinja",
        {
            "classes": [repr(name) for name in data.class_words],
            "towers_norm": any(call.startswith("TowersNorm") for _, call in modules),
            "map_norm": any(call.startswith("MapNorm") for _, call in modules),
            "modules": [(repr(name), call) for name, call in modules],
            "images": images,
            "outputs": config.net.layers[-1].classes,
            "height": height,
            "width": width,
            "crop": f"{rows.start}:{rows.stop}, {columns.start}:{columns.stop}",
            "pixel_std": config.data.pixel_std,
            "preprocessing": network.preprocessing,
        },
    )


def _modules(shapes: LayerShapes, towers: int) -> Iterator[tuple[str, str]]:
    """Yield the submodules of a layer: their names, and the expressions that make them."""
    layer = shapes.layer
    ceil = ", ceil_mode=True" if isinstance(layer, MaxPool | AvgPool) and layer.ceil else ""
    match layer:
        case Conv():
            before, after = layer.padding
            padding = f", padding={before}" if before == after != 0 else ""
            if before != after:
                yield f"{layer.name}_padding", f"nn.ZeroPad2d({(before, after, before, after)})"
            stride = f", stride={layer.stride}" if layer.stride != 1 else ""
            count = groups(shapes, towers)
            grouped = f", groups={count}" if count != 1 else ""
            channels = towers_in(shapes, towers) * shapes.inputs[-1], towers * layer.features
            call = f"nn.Conv2d({channels[0]}, {channels[1]}, {layer.kernel}{stride}{padding}{grouped})"
        case Dense() | Classifier():
            if len(shapes.inputs) == 3:
                yield f"{layer.name}_flatten", "nn.Flatten()"
            units = towers * layer.units if isinstance(layer, Dense) else layer.classes
            call = f"nn.Linear({towers_in(shapes, towers) * math.prod(shapes.inputs)}, {units})"
        case ReLU():
            call = "nn.ReLU()"
        case Tanh():
            call = "nn.Tanh()"
        case LRN():
            alpha = layer.alpha_each * layer.window  # which PyTorch divides by the window
            constants = f"{layer.window}, alpha={alpha:.9g}, beta={layer.beta}, k={layer.k}"
            count = groups(shapes, towers)
            call = f"TowersNorm({count}, {constants})" if count > 1 else f"nn.LocalResponseNorm({constants})"
        case MapNorm():
            call = f"MapNorm({layer.window}, alpha={layer.alpha}, beta={layer.beta})"
        case BatchNorm():
            kind = "BatchNorm2d" if len(shapes.inputs) == 3 else "BatchNorm1d"
            count = towers * shapes.inputs[-1]
            call = f"nn.{kind}({count}, eps={layer.epsilon}, momentum={1 - layer.decay:.9g})"
        case MaxPool():
            call = f"nn.MaxPool2d({layer.window}, {layer.stride}{ceil})"
        case AvgPool():
            call = f"nn.AvgPool2d({layer.window}, {layer.stride}{ceil}, count_include_pad=False)"
        case Dropout():
            call = f"nn.Dropout({layer.rate})"
        case _:
            raise AssertionError(f"torch_layout takes {layer.name}, but this module does not")
    yield layer.name, call
