"""An ONNX model, open and ready to run: the one place that calls ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime

from modelyard_server.backend_support.artefact import require_artefact
from modelyard_server.backend_support.datatypes import BFLOAT16
from modelyard_server.backend_support.dlpack import words_at
from modelyard_server.backend_support.errors import ExecutionError, ModelLoadError
from modelyard_server.backend_support.signature import Signature
from modelyard_server.backends.onnxruntime.graph import graph_signature
from modelyard_server.backends.onnxruntime.providers import CPU, Provider
from modelyard_server.backends.onnxruntime.settings import SessionSettings

Array = npt.NDArray[Any]

DEFAULT_FILENAME = "model.onnx"
# onnx.TensorProto.BFLOAT16; the onnx package is not needed to serve.
_ONNX_BFLOAT16 = 16


class OnnxSession:
    """A session, and what it may be asked.

    Args:
        path: The artefact.
        name: What messages call it.
        options: How it is opened.
        providers: Which run it; the first that can run an operator does.
        run_entries: Configuration entries of every run.

    Attributes:
        description: What runs the model, for the log.
        signature: The graph's inputs and outputs.

    Raises:
        ModelLoadError: The artefact cannot be read.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        options: onnxruntime.SessionOptions,
        providers: Sequence[Provider] = ((CPU, {}),),
        run_entries: dict[str, str] | None = None,
    ) -> None:
        self._session = _open(path, name, options, providers)
        self.description = (
            f"{name} in onnxruntime {onnxruntime.__version__}, {', '.join(self._session.get_providers())}, "
            f"{options.intra_op_num_threads} intra-op thread(s)"
        )
        self._run_options = _run_options(run_entries or {})
        self.signature: Signature = graph_signature(self._session, name)
        tensors = (*self.signature.inputs.items(), *self.signature.outputs.items(), *self.signature.overridable.items())
        self._bfloat16 = {name for name, tensor in tensors if tensor.data_type == BFLOAT16}

    def run(self, outputs: Sequence[str], inputs: dict[str, Array]) -> Sequence[Array]:
        """Runs the graph once.

        Args:
            outputs: The names of those to fetch.
            inputs: By name; bfloat16 ones as uint16.

        Returns:
            The outputs in the order asked for; bfloat16 ones as uint16.

        Raises:
            ExecutionError: ONNX Runtime refused the inputs or failed.
        """
        run = self._run_bfloat16 if self._bfloat16 else self._run
        try:
            return run(outputs, inputs)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no base of their own
            raise ExecutionError(f"onnxruntime: {error}") from None

    def _run(self, outputs: Sequence[str], inputs: dict[str, Array]) -> Sequence[Array]:
        answer: Sequence[Array] = self._session.run(outputs, inputs, self._run_options)
        return answer

    def _run_bfloat16(self, outputs: Sequence[str], inputs: dict[str, Array]) -> Sequence[Array]:
        """As ONNX Runtime's own values, for numpy has no bfloat16."""
        values = {name: self._value(name, array) for name, array in inputs.items()}
        answer = self._session.run_with_ort_values(outputs, values, self._run_options)
        return [self._array(name, value) for name, value in zip(outputs, answer, strict=True)]

    def _value(self, name: str, array: Array) -> Any:
        if name in self._bfloat16:
            return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _ONNX_BFLOAT16)
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)

    def _array(self, name: str, value: Any) -> Array:
        if name in self._bfloat16:
            return words_at(value.data_ptr(), tuple(value.shape()), owner=value)
        array: Array = value.numpy()
        return array


def find_artefact(version_folder: Path, filename: str) -> Path:
    """The ONNX file of a version: `default_model_filename`, or inside a folder of that name, beside its data.

    Raises:
        ModelLoadError: There is none.
    """
    path = version_folder / (filename or DEFAULT_FILENAME)
    return require_artefact(path / DEFAULT_FILENAME if path.is_dir() else path, version_folder)


def session_options(settings: SessionSettings) -> onnxruntime.SessionOptions:
    """The settings in ONNX Runtime's words.

    Raises:
        ModelLoadError: A library of custom operators cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, settings.graph_optimization_level)
    options.execution_mode = getattr(
        onnxruntime.ExecutionMode, "ORT_PARALLEL" if settings.parallel else "ORT_SEQUENTIAL"
    )
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = settings.inter_op_threads
    if settings.mem_arena is not None:
        options.enable_cpu_mem_arena = settings.mem_arena
    if settings.mem_pattern is not None:
        options.enable_mem_pattern = settings.mem_pattern
    for key, value in settings.session_entries.items():
        options.add_session_config_entry(key, value)
    for library in settings.op_libraries:
        _register(options, library)
    return options


def glance_options(settings: SessionSettings) -> onnxruntime.SessionOptions:
    """To read a graph's inputs and outputs only: opened fast, as nothing is optimised for a run."""
    options = session_options(settings)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


def _open(path: Path, name: str, options: onnxruntime.SessionOptions, providers: Sequence[Provider]) -> Any:
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no base of their own
        raise ModelLoadError(f"onnxruntime {onnxruntime.__version__} cannot open {name}: {error}") from None


def _register(options: onnxruntime.SessionOptions, library: str) -> None:
    try:
        options.register_custom_ops_library(library)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no base of their own
        raise ModelLoadError(f"op_library_filename '{library}' cannot be loaded: {error}") from None


def _run_options(entries: dict[str, str]) -> Any:
    if not entries:
        return None
    options = onnxruntime.RunOptions()
    for key, value in entries.items():
        options.add_run_config_entry(key, value)
    return options
