"""Triton's onnxruntime backend: the ONNX graph as it is, on a CPU, on CUDA, or through another execution provider."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard_build.errors import ArtefactFailed
from modelyard_build.model import Arrays, Model
from modelyard_build.quality import EXACT, NEAR, NEAR_HALF, QUANTISED
from modelyard_build.repository.hardware import hardware
from modelyard_build.targets.target import Candidate, Run, Source, Target

if TYPE_CHECKING:
    import onnx

FILENAME = "model.onnx"


def write(proto: onnx.ModelProto, folder: Path) -> Path:
    """Saves a graph under the name that the backend looks for."""
    from modelyard_build import graph_files

    path = folder / FILENAME
    graph_files.save(proto, path)
    return path


class Runner:
    """Runs a graph in this process, as the backend does.

    Args:
        path: the graph.
        providers: execution providers to ask before the CPU's.
    """

    def __init__(self, path: Path, providers: Sequence[str] = ()) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Threads that spin take the cores from whatever else is measured in this process.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=[*providers, "CPUExecutionProvider"]
            )
        except Exception as error:
            # onnxruntime's exceptions have no common base of their own.
            raise ArtefactFailed(
                f"ONNX Runtime {onnxruntime.__version__} does not load {path.name}: {error}"
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        """Runs one batch; every tensor has the batch as its first dimension."""
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))


class OnnxRuntime(Target):
    """The portable target: what it writes runs on every machine."""

    name = "onnxruntime"
    distributions = ("onnxruntime",)
    candidates = (
        Candidate("onnxruntime-fp32", name, "fp32", "fp32", FILENAME, EXACT),
        Candidate("onnxruntime-int8", name, "int8", "int8", "model.int8.onnx", QUANTISED),
        # Of use on a GPU: on a CPU the half-precision kernels are missing, and casts around each node cost time.
        Candidate("onnxruntime-fp16", name, "fp16", "fp16", "model.fp16.onnx", NEAR_HALF, needs_gpu=True),
        Candidate("onnxruntime-bf16", name, "bf16", "bf16", "model.bf16.onnx", NEAR, needs_gpu=True),
        Candidate(
            "onnxruntime-tensorrt-fp16",
            name,
            "fp16",
            "fp16",
            "model.fp16.onnx",
            NEAR_HALF,
            # The graph is in float16 already; precision_mode stays out.
            gpu_accelerator=("tensorrt", {"trt_engine_cache_enable": "true", "trt_engine_cache_path": "/tmp/trt"}),  # noqa: S108  # in Triton's container, which has no other place to write
            needs_gpu=True,
        ),
        Candidate("onnxruntime-openvino-fp32", name, "fp32", "fp32", FILENAME, EXACT, cpu_accelerator="openvino"),
    )

    def missing(self, candidate: Candidate) -> str:
        """See `Target`."""
        if candidate.cpu_accelerator and "OpenVINOExecutionProvider" not in _providers():
            return (
                "this machine's onnxruntime has no OpenVINO provider; NVIDIA's container has. "
                "`pip install onnxruntime-openvino` in place of onnxruntime brings it"
            )
        return ""

    def write(self, candidate: Candidate, source: Source, folder: Path) -> dict[str, Any]:
        """See `Target`."""
        from modelyard_build import graph_files

        graph_files.copy(source.graph(candidate.graph), folder / candidate.filename)
        return {}

    def cannot_run(self, candidate: Candidate) -> str:
        """See `Target`."""
        if candidate.needs_gpu and (hardware().gpu is None or "CUDAExecutionProvider" not in _providers()):
            return f"{candidate.precision} is computed by the CUDA provider, and there is no GPU with it here"
        return ""

    def runner(self, candidate: Candidate, folder: Path, model: Model) -> Run:
        """See `Target`."""
        return Runner(folder / candidate.filename, ["CUDAExecutionProvider"] if candidate.needs_gpu else [])


def _providers() -> list[str]:
    import onnxruntime

    found: list[str] = onnxruntime.get_available_providers()
    return found


TARGET = OnnxRuntime()
