"""Heads in integers: the last part of a detector's dense graph once more, quantized.

Static quantization (Jacob et al. 2018, "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference"): weights by channel, activations by tensor, from
the least and greatest values that real tiles show.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from buildex.errors import ModelError
from buildex.nn.graph_weights import fold, halve, widen

if TYPE_CHECKING:
    import onnx

Shown = tuple[NDArray[np.uint8], NDArray[np.bool_]]  # (S, S, 3) and where it is ground, (S, S)

ENCODER = "/encoder/"  # in names of nodes
# Not in integers: the encoder, whose depthwise kernels lose most, and what says boxes and scores.
EXACT = (ENCODER, "cls_logits", "bbox_reg", "bbox_ctrness", "bbox_pred")


def quantize(dense: Path, tiles: Sequence[Shown], target: Path) -> None:
    """Write what comes after the encoder in a dense graph once more, in integers.

    Args:
        dense: as `nn.export.write_graphs` wrote it, of a detector.
        tiles: real ones, as various as the roofs that are to be found.
        target: the file to write.

    Raises:
        ModelError: if onnxruntime is not installed.
    """
    if find_spec("onnxruntime") is None:
        raise ModelError("graphs in int8 need onnxruntime", hint="pip install onnxruntime")
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    graph = onnx.load(str(dense))
    widen(graph)
    fold(graph)
    cut = _handed(graph)
    noise = logging.getLogger()
    level = noise.level
    noise.setLevel(logging.ERROR)  # that the graph might be optimized first
    try:
        quantize_static(
            graph,
            str(target),
            _Reader(tiles),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_exact(graph),
        )
    finally:
        noise.setLevel(level)
    whole = onnx.load(str(target))
    outputs = [one.name for one in whole.graph.output]
    heads = onnx.utils.Extractor(whole).extract_model(cut, outputs)
    halve(heads)
    heads.doc_string = f"{graph.doc_string}, heads in int8"
    onnx.save(heads, str(target))


def _handed(graph: onnx.ModelProto) -> list[str]:
    """Names of what the rest needs from the encoder, and from the graph's own inputs, sorted."""
    made_by = {name: node for node in graph.graph.node for name in node.output}
    given = {one.name for one in graph.graph.input}
    handed, seen = set(), set()
    coming = [one.name for one in graph.graph.output]
    while coming:
        name = coming.pop()
        node = made_by.get(name)
        if name in given or (node is not None and ENCODER in node.name):
            handed.add(name)
        elif node is not None and name not in seen:
            seen.add(name)
            coming += node.input
    return sorted(handed)


def _exact(graph: onnx.ModelProto) -> list[str]:
    """Names of the convolutions that stay as they are."""
    names = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    return [name for name in names if any(part in name for part in EXACT)]


class _Reader:
    """Hands tiles to onnxruntime, one by one."""

    def __init__(self, tiles: Sequence[Shown]) -> None:
        self._coming: Iterator[Shown] = iter(tiles)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next tile as the graph's inputs; None after the last."""
        tile = next(self._coming, None)
        return None if tile is None else {"image": tile[0][None], "valid": tile[1][None]}
