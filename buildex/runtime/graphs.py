"""ONNX graphs that run: the only module that knows OpenVINO.

A graph takes and gives arrays by name. What it gives lies in its own memory and is good
until its next call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from buildex.errors import ModelError

Arrays = dict[str, NDArray[Any]]
PRECISIONS = {"bf16": "bf16", "fp32": "f32"}


class Graph:
    """One graph, ready to run on the CPU.

    Args:
        path: of the .onnx file.
        precision: auto is bf16 where the processor multiplies it natively.
        threads: to run on; 0 for what OMP_NUM_THREADS says, else as many as there are cores.

    Raises:
        ModelError: if the file is missing or damaged.
    """

    def __init__(self, path: Path, precision: str = "auto", threads: int = 0) -> None:
        if not path.is_file():
            raise ModelError(
                f"`{path.parent}` has no `{path.name}`",
                hint="write its graphs with `buildex export`, or use `--runtime torch`",
            )
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if precision in PRECISIONS:
            options["INFERENCE_PRECISION_HINT"] = PRECISIONS[precision]
        said = os.environ.get("OMP_NUM_THREADS", "")
        threads = threads or (int(said) if said.isdecimal() else 0)
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            core = ov.Core()
            compiled = core.compile_model(core.read_model(path), "CPU", options)
        except RuntimeError as error:
            first = " ".join(str(error).split())[-200:]
            raise ModelError(
                f"`{path}` is damaged: {first}", hint="write it again with `buildex export`"
            ) from None
        self.inputs = [one.get_any_name() for one in compiled.inputs]
        self.outputs = [one.get_any_name() for one in compiled.outputs]
        self.precision = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run it; `inputs` may hold more than the graph takes."""
        given = {name: np.ascontiguousarray(inputs[name]) for name in self.inputs}
        self._request.infer(given, share_inputs=True)
        return {name: self._request.get_tensor(name).data for name in self.outputs}
