"""The ONNX graph of a network. Images are NCHW, and the towers are groups of channels."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

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
from alexnet_jax.weights.groups import groups
from alexnet_jax.weights.network import Network

_OPSET, _IR = 17, 8  # of 2022: older runtimes read them


def model(network: Network) -> ModelProto:
    """Return a graph from ``images`` to ``logits`` for any batch size, with the class names as metadata."""
    graph = _Graph(network.arrays)
    x = _preprocessed(graph, "images", network) if network.preprocessing else "images"
    layers = folded(network.config)
    for shapes, _ in layers:
        x = _layer(graph, x, shapes, network.config.net.towers)
    graph.add("Identity", [x], "logits")

    height, width, channels = network.input_shape
    number = helper.np_dtype_to_tensor_dtype(network.input_dtype)
    outputs = [*layers[-1][0].outputs]
    images = helper.make_tensor_value_info("images", number, ["batch", channels, height, width])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", *outputs])
    made = helper.make_model(
        helper.make_graph(graph.nodes, "alexnet", [images], [logits], graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="alexnet-jax",
    )
    helper.set_model_props(made, {"classes": json.dumps(network.data.class_words), "step": str(network.step)})
    return made


class _Graph:
    """The nodes of a graph in their order, and its constants.

    Args:
      arrays: the parameters by name.
    """

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self._arrays = arrays
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its first output."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def constant(self, name: str, array: Any) -> str:
        """Add a constant, and return its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weights(self, layer: str, *others: str) -> list[str]:
        """Add the weight, the bias and other arrays of a layer, and return their names."""
        names = [f"{layer}.{kind}" for kind in ("weight", "bias", *others)]
        return [self.constant(name, self._arrays[name]) for name in names]


def _preprocessed(graph: _Graph, x: str, network: Network) -> str:
    rows, columns = network.crop
    positions = {"first": (rows.start, columns.start), "end": (rows.stop, columns.stop), "axes": (2, 3)}
    slices = [graph.constant(f"crop.{name}", np.array(each)) for name, each in positions.items()]
    mean = graph.constant("mean", network.arrays["mean_image"][None, :, rows, columns])
    std = graph.constant("pixel_std", np.float32(network.config.data.pixel_std))
    x = graph.add("Slice", [x, *slices], "crop")
    x = graph.add("Cast", [x], "float", to=TensorProto.FLOAT)
    x = graph.add("Sub", [x, mean], "centred")
    return graph.add("Div", [x, std], "preprocessed")


def _layer(graph: _Graph, x: str, shapes: LayerShapes, towers: int) -> str:
    """Add a layer that reads x, and return the name of its output."""
    layer = shapes.layer
    output = f"{layer.name}.output"
    match layer:
        case Conv():
            before, after = layer.padding
            return graph.add(
                "Conv",
                [x, *graph.weights(layer.name)],
                output,
                strides=[layer.stride] * 2,
                pads=[before, before, after, after],
                group=groups(shapes, towers),
            )
        case Dense() | Classifier():
            if len(shapes.inputs) == 3:
                x = graph.add("Flatten", [x], f"{layer.name}.inputs")
            return graph.add("Gemm", [x, *graph.weights(layer.name)], output, transB=1)
        case ReLU():
            return graph.add("Relu", [x], output)
        case Tanh():
            return graph.add("Tanh", [x], output)
        case LRN():
            return _lrn(graph, x, layer, groups(shapes, towers))
        case MapNorm():
            return _map_norm(graph, x, layer)
        case BatchNorm():
            arrays = graph.weights(layer.name, "running_mean", "running_var")
            return graph.add("BatchNormalization", [x, *arrays], output, epsilon=layer.epsilon)
        case MaxPool():
            return graph.add("MaxPool", [x], output, **_windows(shapes, layer))
        case AvgPool():
            return graph.add("AveragePool", [x], output, **_windows(shapes, layer))
        case Dropout():
            return x
        case _:
            raise AssertionError(f"torch_layout takes {layer.name}, but this graph does not")


def _windows(shapes: LayerShapes, layer: MaxPool | AvgPool) -> dict[str, list[int]]:
    """Return the attributes of pooling, whose last windows may reach over the edge."""
    ends = [-(size - layer.window) % layer.stride if layer.ceil else 0 for size in shapes.inputs[:2]]
    return {"kernel_shape": [layer.window] * 2, "strides": [layer.stride] * 2, "pads": [0, 0, *ends]}


def _lrn(graph: _Graph, x: str, layer: LRN, count: int) -> str:
    """Normalize each of ``count`` groups of channels by itself."""
    alpha = layer.alpha_each * layer.window  # which ONNX divides by the window
    constants = {"size": layer.window, "alpha": alpha, "beta": layer.beta, "bias": layer.k}
    if count == 1:
        return graph.add("LRN", [x], f"{layer.name}.output", **constants)
    towers = [f"{layer.name}.tower{i}" for i in range(count)]
    graph.add("Split", [x], *towers, axis=1)
    normalized = [graph.add("LRN", [tower], f"{tower}.output", **constants) for tower in towers]
    return graph.add("Concat", normalized, f"{layer.name}.output", axis=1)


def _map_norm(graph: _Graph, x: str, layer: MapNorm) -> str:
    """Divide x by (1 + alpha * the mean of x^2 in each window) ^ beta."""

    def add(operator: str, inputs: Sequence[str], result: str, **attributes: Any) -> str:
        return graph.add(operator, inputs, f"{layer.name}.{result}", **attributes)

    before, after = layer.window // 2, (layer.window - 1) // 2
    windows = {"kernel_shape": [layer.window] * 2, "pads": [before, before, after, after]}
    numbers = {"one": 1, "alpha": layer.alpha, "beta": layer.beta}
    one, alpha, beta = (graph.constant(f"{layer.name}.{k}", np.float32(v)) for k, v in numbers.items())
    means = add("AveragePool", [add("Mul", [x, x], "squares")], "means", **windows, count_include_pad=1)
    base = add("Add", [add("Mul", [means, alpha], "scaled"), one], "base")
    return add("Div", [x, add("Pow", [base, beta], "power")], "output")
