"""Weights of an ONNX graph: in half precision, and back; of two convolutions, one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def halve(graph: onnx.ModelProto) -> None:
    """Store weights that half precision holds exactly as such; a cast makes them single again."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights, casts = graph.graph.initializer, []
    for weight in list(weights):
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < 2 or not np.array_equal(half.astype(np.float32), values):
            continue
        weights.remove(weight)
        stored = f"{weight.name}.half"
        weights.append(numpy_helper.from_array(half, stored))
        casts.append(helper.make_node("Cast", [stored], [weight.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    onnx.checker.check_model(graph)


def widen(graph: onnx.ModelProto) -> None:
    """Undo `halve`: weights in single precision, without casts."""
    from onnx import TensorProto, numpy_helper

    weights = {weight.name: weight for weight in graph.graph.initializer}
    for node in list(graph.graph.node):
        half = weights.get(node.input[0]) if node.op_type == "Cast" else None
        if half is None or half.data_type != TensorProto.FLOAT16:
            continue
        values = numpy_helper.to_array(half).astype(np.float32)
        graph.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        graph.graph.initializer.remove(half)
        graph.graph.node.remove(node)


def fold(graph: onnx.ModelProto) -> None:
    """Make one convolution of two where a pointwise one alone follows another.

    Both are linear: W = W2 W1, b = W2 b1 + b2. Weights have to be in single precision.
    """
    from onnx import numpy_helper

    weights = {one.name: one for one in graph.graph.initializer}
    users: dict[str, list[onnx.NodeProto]] = {one.name: [] for one in graph.graph.output}
    for node in graph.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    ends = {one.name for one in graph.graph.output}
    for first in [node for node in graph.graph.node if _foldable(node, weights)]:
        if first not in graph.graph.node:
            continue  # folded into the one before it
        after = users.get(first.output[0], [])
        if len(after) != 1 or first.output[0] in ends or not _foldable(after[0], weights):
            continue
        second = after[0]
        w1, b1, w2, b2 = (
            numpy_helper.to_array(weights[name]).astype(np.float64)
            for name in (*first.input[1:], *second.input[1:])
        )
        if w2.shape[2:] != (1, 1) or second.input[0] != first.output[0] or not _pixelwise(second):
            continue
        folded = (np.einsum("oi,ihwk->ohwk", w2[:, :, 0, 0], w1), w2[:, :, 0, 0] @ b1 + b2)
        for old, values in zip(second.input[1:], folded, strict=True):
            name = f"{first.output[0]}.{old}.folded"
            graph.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
            first.input[1 if values.ndim > 1 else 2] = name
        first.output[0] = second.output[0]
        graph.graph.node.remove(second)
    used = {name for node in graph.graph.node for name in node.input}
    for weight in weights.values():
        if weight.name not in used:
            graph.graph.initializer.remove(weight)


def _pixelwise(node: onnx.NodeProto) -> bool:
    """Whether a convolution answers every pixel and looks at none beside the image."""
    values = {one.name: list(one.ints) for one in node.attribute}
    return set(values.get("strides", [1])) == {1} and not any(values.get("pads", [0]))


def _foldable(node: onnx.NodeProto, weights: Mapping[str, object]) -> bool:
    """Whether a node is a convolution of all channels, with a bias, and of known weights."""
    if node.op_type != "Conv" or len(node.input) != 3:
        return False
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    return groups == 1 and all(name in weights for name in node.input[1:])
