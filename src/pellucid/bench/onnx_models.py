"""The benchmark's networks as ONNX models, for ONNX Runtime and OpenVINO.

Enters: layers and weights under the names of nested `Sequential`s. Leaves: a serialised model with
one input `x` and one output `y`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.bench.layers import (
    Clip,
    Conv,
    Dense,
    Flat,
    GlobalPool,
    Layer,
    Layers,
    MaxPool,
    Norm,
    Residual,
)
from pellucid.bench.peers import load
from pellucid.bench.row import Array

_OPSET = 20


class OnnxGraph:
    """Nodes and constants as they are added; each name is given once."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node with one result, whose name is returned."""
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(load("onnx").helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, array: Array) -> str:
        """A constant by its name."""
        self.constants.append(load("onnx").numpy_helper.from_array(array, name))
        return name

    def finish(self, x: Sequence[int], result: str) -> bytes:
        """The model from the float32 input `x` to `result`, which becomes `y`."""
        onnx = load("onnx")
        helper, floats = onnx.helper, onnx.TensorProto.FLOAT
        self.nodes.append(helper.make_node("Identity", [result], ["y"]))
        inputs = [helper.make_tensor_value_info("x", floats, list(x))]
        outputs = [helper.make_tensor_value_info("y", floats, None)]
        graph = helper.make_graph(self.nodes, "bench", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return bytes(model.SerializeToString())


def network_model(layers: Layers, weights: Mapping[str, Array], x: Sequence[int]) -> bytes:
    """The network in evaluation mode, for inputs of shape `x`."""
    graph = OnnxGraph()
    return graph.finish(x, _apply_all(graph, layers, "", weights, "x"))


def convolution_model(w: Array, x: Sequence[int], **how: int) -> bytes:
    """One convolution without bias."""
    graph = OnnxGraph()
    kernel = w.shape[2]
    y = graph.add("Conv", "x", graph.constant("w", w), **_conv_attributes(kernel, **how))
    return graph.finish(x, y)


def operator_model(op: str, x: Array, *constants: Array, **attributes: Any) -> bytes:
    """One operator on `x` and constants."""
    graph = OnnxGraph()
    names = [graph.constant(f"c{i}", a) for i, a in enumerate(constants)]
    return graph.finish(x.shape, graph.add(op, "x", *names, **attributes))


def _conv_attributes(
    kernel: int, stride: int, padding: int, groups: int, dilation: int = 1
) -> dict[str, Any]:
    return {
        "kernel_shape": [kernel] * 2,
        "strides": [stride] * 2,
        "pads": [padding] * 4,
        "dilations": [dilation] * 2,
        "group": groups,
    }


def _apply_all(
    graph: OnnxGraph, layers: Layers, prefix: str, weights: Mapping[str, Array], x: str
) -> str:
    for i, layer in enumerate(layers):
        x = _apply(graph, layer, f"{prefix}{i}", weights, x)
    return x


def _apply(graph: OnnxGraph, layer: Layer, name: str, weights: Mapping[str, Array], x: str) -> str:
    def own(*parts: str) -> list[str]:
        return [graph.constant(f"{name}.{p}", weights[f"{name}.{p}"]) for p in parts]

    match layer:
        case Dense():
            return graph.add("Gemm", x, *own("weight", "bias"), transB=1)
        case Conv(_, _, kernel, stride, padding, groups, bias):
            how = _conv_attributes(kernel, stride, padding, groups)
            return graph.add("Conv", x, *own("weight", *(["bias"] if bias else [])), **how)
        case Norm():
            parts = own("weight", "bias", "running_mean", "running_var")
            return graph.add("BatchNormalization", x, *parts)
        case Clip(capped):
            return _clip(graph, x) if capped else graph.add("Relu", x)
        case MaxPool(kernel, stride, padding):
            sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
            return graph.add("MaxPool", x, **sizes)
        case GlobalPool():
            return graph.add("GlobalAveragePool", x)
        case Flat():
            return graph.add("Flatten", x)
        case Residual(body, around):
            first = _apply_all(graph, body, f"{name}.body.", weights, x)
            return graph.add("Add", first, _apply_all(graph, around, f"{name}.around.", weights, x))


def _clip(graph: OnnxGraph, x: str) -> str:
    """`min(max(x, 0), 6)`; the bounds are constants of the model."""
    if not any(c.name == "six" for c in graph.constants):
        numpy = load("numpy")
        graph.constant("zero", numpy.float32(0)[...])
        graph.constant("six", numpy.float32(6)[...])
    return graph.add("Clip", x, "zero", "six")
