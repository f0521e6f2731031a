"""Triton's openvino backend: OpenVINO's intermediate representation, on CPUs.

On a CPU that multiplies bfloat16 itself OpenVINO computes float32 graphs in bfloat16 unless it is told otherwise, and
Triton's backend has no setting that tells it. So `openvino-fp32` is proven in float32, and where it is served on such a
CPU its answers are held to the class of bfloat16.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard_build.errors import ArtefactFailed
from modelyard_build.model import Arrays, Model
from modelyard_build.quality import EXACT, NEAR, QUANTISED, Quality
from modelyard_build.repository.config import Serving
from modelyard_build.repository.hardware import Hardware
from modelyard_build.targets.target import Candidate, Run, Source, Target

if TYPE_CHECKING:
    import openvino

# Without it the container's backend refuses each batch that is not full.
_PARTIAL_BATCHES = {"ENABLE_BATCH_PADDING": "YES"}
_HINTS = {"fp32": {"INFERENCE_PRECISION_HINT": "f32"}, "bf16": {"INFERENCE_PRECISION_HINT": "bf16"}, "int8": {}}


class OpenVino(Target):
    """CPUs, with the kernels of OpenVINO."""

    name = "openvino"
    distributions = ("openvino",)
    instance_kind = "KIND_CPU"
    candidates = (
        Candidate("openvino-fp32", name, "fp32", "fp32", "model.xml", EXACT, parameters=_PARTIAL_BATCHES),
        Candidate(
            "openvino-bf16",
            name,
            "bf16",
            "fp32",
            "model.xml",
            NEAR,
            parameters={**_PARTIAL_BATCHES, "HINT_BF16": "YES"},
        ),
        Candidate("openvino-int8", name, "int8", "int8", "model.int8.xml", QUANTISED, parameters=_PARTIAL_BATCHES),
    )

    def missing(self, candidate: Candidate) -> str:
        """See `Target`."""
        if importlib.util.find_spec("openvino") is None:
            return 'openvino is not installed: pip install "modelyard[openvino]"'
        return ""

    def write(self, candidate: Candidate, source: Source, folder: Path) -> dict[str, Any]:
        """See `Target`."""
        import openvino

        from modelyard_build import fusion
        from modelyard_build.openvino_core import core

        graph = source.graph(candidate.graph)
        try:
            model = core().read_model(graph)
        except RuntimeError as error:
            raise ArtefactFailed(
                f"{source.model.name}: OpenVINO {openvino.__version__} does not read {graph.name}: {_first_line(error)}"
            ) from error
        _name_tensors(model, source)
        # Weights stay as the graph has them: a silent float16 would be another precision than the one proven.
        openvino.save_model(model, folder / candidate.filename, compress_to_fp16=False)
        path = folder / candidate.filename
        return {"fusion": fusion.report(self.name, path, graph, _HINTS[candidate.precision])}

    def cannot_run(self, candidate: Candidate) -> str:
        """See `Target`."""
        return ""

    def runner(self, candidate: Candidate, folder: Path, model: Model) -> Run:
        """See `Target`."""
        return Runner(compiled(folder / candidate.filename, _HINTS[candidate.precision]))

    def instances(self, candidate: Candidate, folder: Path, model: Model) -> list[Run]:
        """One compiled model with a stream for each, as the backend has it; see `Target`."""
        properties = {**_HINTS[candidate.precision], "NUM_STREAMS": str(model.instance_count)}
        shared = compiled(folder / candidate.filename, properties)
        return [Runner(shared) for _ in range(model.instance_count)]

    def serving(self, candidate: Candidate, model: Model) -> Serving:
        """See `Target`."""
        found = super().serving(candidate, model)
        parameters = {**found.parameters, "NUM_STREAMS": str(model.instance_count)}
        if not model.max_batch_size:
            parameters = {key: value for key, value in parameters.items() if key not in _PARTIAL_BATCHES}
        return replace(found, parameters=parameters)

    def served_quality(self, candidate: Candidate, hardware: Hardware) -> Quality:
        """See `Target`."""
        return NEAR if candidate.quality is EXACT and hardware.native_bf16 else candidate.quality


def compiled(path: Path, properties: Mapping[str, str]) -> openvino.CompiledModel:
    """An intermediate representation, compiled for this CPU.

    Raises:
        ArtefactFailed: OpenVINO does not load it.
    """
    import openvino

    from modelyard_build.openvino_core import core

    try:
        return core().compile_model(path, "CPU", dict(properties))
    except RuntimeError as error:
        raise ArtefactFailed(
            f"OpenVINO {openvino.__version__} does not load {path.name}: {_first_line(error)}"
        ) from error


class Runner:
    """Runs a compiled model in this process, on the CPU; one caller at a time."""

    def __init__(self, model: openvino.CompiledModel) -> None:
        self._outputs = model.outputs
        self._request = model.create_infer_request()

    def __call__(self, inputs: Arrays) -> Arrays:
        """Runs one batch; every tensor has the batch as its first dimension."""
        results = self._request.infer(inputs)
        return {output.get_any_name(): results[output].copy() for output in self._outputs}


def _name_tensors(model: openvino.Model, source: Source) -> None:
    """Each input and output has the declared name and no other: Triton's backend takes any of several."""
    for tensor, port in zip(source.model.inputs, model.inputs, strict=True):
        port.get_tensor().set_names({tensor.name})
    for tensor, port in zip(source.model.outputs, model.outputs, strict=True):
        port.get_tensor().set_names({tensor.name})


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


TARGET = OpenVino()
