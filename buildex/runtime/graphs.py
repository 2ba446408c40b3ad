"""ONNX graphs that run: the only module that knows OpenVINO.

A graph takes and gives arrays by name. What it gives lies in its own memory and is good
until its next call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from buildex.errors import ModelError

Arrays = dict[str, NDArray[Any]]
Computed = Literal["int8", "bf16", "fp32"]
PRECISIONS: Mapping[str, Computed] = {"bf16": "bf16", "f32": "fp32"}  # by OpenVINO's names
HINTS = {ours: theirs for theirs, ours in PRECISIONS.items()}
CUT = "ROIAlign"  # OpenVINO's name of the operation that cuts rois from maps


class Graph:
    """One graph, ready to run on the CPU.

    Where it cuts rois, that is done in single precision, whatever comes after: bf16 knows
    coordinates beyond 256 pixels to two pixels only.

    Args:
        path: of the .onnx file.
        precision: auto is bf16 where the processor multiplies it natively.
        threads: to run on; 0 for what OMP_NUM_THREADS says, else as many as there are cores.
        length: of the first axis of all inputs; 0 for any.

    Attributes:
        inputs: names of what it takes.
        outputs: names of what it gives.
        precision: bf16 or fp32, of what is not integers.

    Raises:
        ModelError: if the file is missing or damaged.
    """

    def __init__(
        self, path: Path, precision: str = "auto", threads: int = 0, length: int = 0
    ) -> None:
        if not path.is_file():
            raise ModelError(
                f"`{path.parent}` has no `{path.name}`",
                hint="write its graphs with `buildex export`, or use `--runtime torch`",
            )
        try:
            model = ov.Core().read_model(path)
            if length:
                shapes = {one: [length, *list(one.partial_shape)[1:]] for one in model.inputs}
                model.reshape(shapes)
            cuts, rest = _parted(model)
            self._steps = [_Step(cuts, "fp32", threads)] if cuts is not None else []
            self._steps.append(_Step(rest, precision, threads))
        except RuntimeError as error:
            first = " ".join(str(error).split())[-200:]
            raise ModelError(
                f"`{path}` is damaged: {first}", hint="write it again with `buildex export`"
            ) from None
        self.inputs = self._steps[0].inputs
        self.outputs = self._steps[-1].outputs
        self.precision = self._steps[-1].precision

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run it; `inputs` may hold more than the graph takes."""
        known = dict(inputs)
        for step in self._steps:
            said = step(known)
            known |= said
        return said


class EvenGraph:
    """A graph that gets batches of one length: shorter ones are filled up with zeros.

    OpenVINO 2026.4 divides by zero in kernels of integers whose batches vary.

    Args:
        path: see `Graph`.
        precision: see `Graph`.
        threads: see `Graph`.
    """

    def __init__(self, path: Path, precision: str = "auto", threads: int = 0) -> None:
        self._open = partial(Graph, path, precision, threads)
        self._length = 1
        self._graph = self._open(1)
        self.inputs, self.precision = self._graph.inputs, self._graph.precision

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run it; the longest batch so far is the length of all that come."""
        count = len(inputs[self.inputs[0]])
        if count > self._length:
            self._length, self._graph = count, self._open(count)
        missing = self._length - count
        given = {name: _longer(inputs[name], missing) for name in self.inputs}
        return {name: said[:count] for name, said in self._graph(given).items()}


class _Step:
    """A compiled model."""

    def __init__(self, model: ov.Model, precision: str, threads: int) -> None:
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if precision in HINTS:
            options["INFERENCE_PRECISION_HINT"] = HINTS[precision]
        said = os.environ.get("OMP_NUM_THREADS", "")
        threads = threads or (int(said) if said.isdecimal() else 0)
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        compiled = ov.Core().compile_model(model, "CPU", options)
        self.inputs = [one.get_any_name() for one in compiled.inputs]
        self.outputs = [one.get_any_name() for one in compiled.outputs]
        hint = compiled.get_property("INFERENCE_PRECISION_HINT")
        self.precision: Computed = PRECISIONS.get(hint.to_string(), "fp32")
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        given = {name: np.ascontiguousarray(inputs[name]) for name in self.inputs}
        self._request.infer(given, share_inputs=True)
        return {name: self._request.get_tensor(name).data for name in self.outputs}


def _parted(model: ov.Model) -> tuple[ov.Model | None, ov.Model]:
    """What cuts rois, if anything does, and what works on the cuts."""
    cuts = [node.output(0) for node in model.get_ordered_ops() if node.get_type_name() == CUT]
    if not cuts:
        return None, model
    given, handed = model.get_parameters(), []
    for k, cut in enumerate(cuts):
        users = cut.get_target_inputs()
        handed.append(ops.parameter(cut.partial_shape, cut.element_type))
        handed[k].output(0).set_names({f"cut{k}"})
        cut.set_names({f"cut{k}"})
        for user in users:
            user.replace_source_output(handed[k].output(0))
    rest = ov.Model(model.get_results(), [*handed, *given])
    work = {node.get_friendly_name() for node in rest.get_ops()}
    for one in given:
        users = one.output(0).get_target_inputs()
        if not any(user.get_node().get_friendly_name() in work for user in users):
            rest.remove_parameter(one)
    return ov.Model(cuts, given), rest


def _longer(values: NDArray[Any], by: int) -> NDArray[Any]:
    return np.concatenate([values, np.zeros((by, *values.shape[1:]), values.dtype)])
