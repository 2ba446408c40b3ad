"""ONNX graphs that run: the only module that knows OpenVINO.

A graph takes and gives arrays by name. What it gives lies in its own memory and is good
until its next call.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from buildex.errors import ModelError

Arrays = dict[str, NDArray[Any]]
Shapes = Mapping[str, Sequence[int | None]]
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
        shapes: of inputs, by name, where they are other ones than those in the file; None stands
            for a length that varies.

    Attributes:
        precision: bf16 or fp32.

    Raises:
        ModelError: if the file is missing or damaged.
    """

    def __init__(
        self, path: Path, precision: str = "auto", threads: int = 0, shapes: Shapes | None = None
    ) -> None:
        with _reading(path):
            cuts, rest = _parted(_read(path, shapes))
            self._steps = [_Step(cuts, "fp32", threads)] if cuts is not None else []
            self._steps.append(_Step(rest, precision, threads))
        self.precision = self._steps[-1].precision

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run it; `inputs` may hold more than the graph takes."""
        known = dict(inputs)
        for step in self._steps:
            said = step(known)
            known |= said
        return said


class Grafted:
    """A graph whose last part is taken from another one, of integers.

    OpenVINO 2026.4 divides by zero in kernels of integers whose batches vary, so that part gets
    batches of one length: shorter ones are filled up with zeros.

    Args:
        trunk: .onnx file of the whole graph.
        crown: .onnx file of its last part; its inputs have the names that they have in the trunk.
        precision: see `Graph`; of what is not integers.
        threads: see `Graph`.
        shapes: see `Graph`; of the trunk.

    Raises:
        ModelError: if a file is missing or damaged, or they do not fit.
    """

    precision: Computed = "int8"

    def __init__(
        self, trunk: Path, crown: Path, precision: str = "auto", threads: int = 0,
        shapes: Shapes | None = None,
    ) -> None:  # fmt: skip
        self._path, self._options = crown, (precision, threads)
        with _reading(crown):
            inputs = [one.get_any_name() for one in _core().read_model(crown).inputs]
        with _reading(trunk):
            whole = _read(trunk, shapes)
            named = {name: one for node in whole.get_ops() for one in node.outputs()
                     for name in one.get_names()}  # fmt: skip
            if missing := sorted(set(inputs) - set(named)):
                raise RuntimeError(f"it has no {', '.join(missing)}")
            given = {name for one in whole.inputs for name in one.get_names()}
            self._shapes = {name: _lengths(named[name].partial_shape) for name in inputs}
            wanted = [named[name] for name in inputs if name not in given]
            self._trunk = _Step(ov.Model(wanted, whole.get_parameters()), precision, threads)
        self._grow(1)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run it; the longest batch so far is the length of all that come."""
        known = {**inputs, **self._trunk(inputs)}
        handed = {name: known[name] for name in self._crown.inputs}
        count = len(next(iter(handed.values())))
        if count > self._length:
            self._grow(count)
        if missing := self._length - count:
            handed = {name: _longer(values, missing) for name, values in handed.items()}
        return {name: said[:count] for name, said in self._crown(handed).items()}

    def _grow(self, length: int) -> None:
        """Take batches of this length."""
        self._length = length
        with _reading(self._path):
            shapes = {name: [length, *shape[1:]] for name, shape in self._shapes.items()}
            self._crown = _Step(_read(self._path, shapes), *self._options)


@cache
def _core() -> ov.Core:
    """OpenVINO, once for a process.

    With its last core OpenVINO 2026.4 frees the stack on which the main thread handles signals, and
    leaves it in place: the next Ctrl-C, or child that ends, would be a segmentation fault.
    """
    return ov.Core()


def _read(path: Path, shapes: Shapes | None) -> ov.Model:
    """A graph, its inputs in other shapes."""
    model = _core().read_model(path)
    if shapes:
        known = {one: shapes[one.get_any_name()] for one in model.inputs
                 if one.get_any_name() in shapes}  # fmt: skip
        model.reshape({one: [-1 if n is None else n for n in to] for one, to in known.items()})
    return model


def _lengths(shape: Any) -> list[int | None]:
    return [one.get_length() if one.is_static else None for one in shape]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say what is wrong with a graph, if anything is."""
    if not path.is_file():
        raise ModelError(
            f"`{path.parent}` has no `{path.name}`",
            hint="write its graphs with `buildex export`, or use `--runtime torch`",
        )
    try:
        yield
    except RuntimeError as error:
        first = " ".join(str(error).split())[-200:]
        raise ModelError(
            f"`{path}` is damaged: {first}", hint="write it again with `buildex export`"
        ) from None


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
        compiled = _core().compile_model(model, "CPU", options)
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
