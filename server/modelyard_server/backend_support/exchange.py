"""Between Triton's Python objects and plain arrays.

Triton's module exists only inside its stub, so it is handed in: everything else in this package works without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy.typing as npt

from modelyard_server.backend_support import strings
from modelyard_server.backend_support.batching import Job, Outcome
from modelyard_server.backend_support.datatypes import BFLOAT16, STRING
from modelyard_server.backend_support.dlpack import bfloat16_to_dlpack, words_from_dlpack
from modelyard_server.backend_support.errors import BackendError, CancelledError, ExecutionError, RequestError

Array = npt.NDArray[Any]


class Exchange:
    """Reads requests and makes responses, for one model.

    Args:
        pb_utils: Triton's module `triton_python_backend_utils`.
        inputs: The data type of each input, ``TYPE_FP32``.
        outputs: The data type of each output.
    """

    def __init__(self, pb_utils: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
        self._pb_utils = pb_utils
        self._readers = {name: reader for name, kind in inputs.items() if (reader := _reader(name, kind))}
        self._bfloat16_outputs = frozenset(name for name, kind in outputs.items() if kind == BFLOAT16)

    def job(self, request: Any) -> Job:
        """The request as arrays; they share its memory, strings apart.

        Raises:
            RequestError: An input cannot be read.
        """
        inputs = {}
        for tensor in request.inputs():
            name = tensor.name()
            reader = self._readers.get(name)
            inputs[name] = reader(tensor) if reader else tensor.as_numpy()
        return Job(inputs, request.requested_output_names())

    def response(self, outcome: Outcome) -> Any:
        """The response that carries the outputs, or the error."""
        if isinstance(outcome, BackendError):
            return self._pb_utils.InferenceResponse(error=self._error(outcome))
        return self._pb_utils.InferenceResponse([self._tensor(name, array) for name, array in outcome.items()])

    def _tensor(self, name: str, array: Array) -> Any:
        if name in self._bfloat16_outputs:
            return self._pb_utils.Tensor.from_dlpack(name, bfloat16_to_dlpack(array))
        return self._pb_utils.Tensor(name, array)

    def _error(self, error: BackendError) -> Any:
        codes = self._pb_utils.TritonError
        code = {RequestError: codes.INVALID_ARG, ExecutionError: codes.INTERNAL, CancelledError: codes.CANCELLED}
        return self._pb_utils.TritonError(str(error), code[type(error)])


def _reader(name: str, data_type: str) -> Callable[[Any], Array] | None:
    """How to read an input whose `as_numpy()` is not what a runtime takes."""
    if data_type == STRING:
        return partial(_read_strings, name)
    if data_type == BFLOAT16:
        return _read_bfloat16
    return None


def _read_strings(name: str, tensor: Any) -> Array:
    return strings.decode(name, tensor.as_numpy())


def _read_bfloat16(tensor: Any) -> Array:
    return words_from_dlpack(tensor.to_dlpack())
