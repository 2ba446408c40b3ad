"""Weights of an ONNX graph in half precision, and back."""

from __future__ import annotations

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
