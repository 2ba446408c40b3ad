"""Heads in integers: a detector's dense graph once more, its pyramid and heads quantized.

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
from buildex.nn.halving import halve, widen

if TYPE_CHECKING:
    import onnx

Shown = tuple[NDArray[np.uint8], NDArray[np.bool_]]  # (S, S, 3) and where it is ground, (S, S)

# Not in integers: the encoder, whose depthwise kernels lose most, and what says boxes and scores.
EXACT = ("/encoder/", "cls_logits", "bbox_reg", "bbox_ctrness", "bbox_pred")


def quantize(dense: Path, tiles: Sequence[Shown], target: Path) -> None:
    """Write a dense graph with heads in integers.

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
    title = graph.doc_string
    widen(graph)
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
    done = onnx.load(str(target))
    halve(done)
    done.doc_string = f"{title}, heads in int8"
    onnx.save(done, str(target))


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
