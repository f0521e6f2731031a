"""The models that the speech step calls, and the state that one of them keeps of a sound."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from .windows import CHUNK

Array = npt.NDArray[Any]


class CallFailed(RuntimeError):
    """A called model answered with an error; the message passes it on."""


class Voice:
    """One sequence of the model of voice activity, from its start to its end.

    Args:
        model: its name.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        # Clients count their own from 1: theirs and these do not meet.
        self._number = secrets.randbits(62) | 1 << 62
        self._flags = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
        self._begun = False

    def probabilities(self, samples: npt.NDArray[np.float32]) -> list[float]:
        """Of each chunk of what comes next; a last one that is not whole is filled up with silence."""
        found = self._call(np.pad(samples, (0, -len(samples) % CHUNK)), 0)
        self._begun = True
        return list(map(float, found.reshape(-1)))

    def end(self) -> None:
        """Frees what the model keeps of it; where that fails, its idle time does."""
        if self._begun:
            try:
                self._call(np.zeros(CHUNK, np.float32), pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END)
            except CallFailed as error:
                pb_utils.Logger.log_warn(f"speech: the end of a sequence was not taken: {error}")

    def _call(self, samples: npt.NDArray[np.float32], flags: int) -> Array:
        sequence = {"correlation_id": self._number, "flags": self._flags | flags}
        self._flags = 0
        (found,) = call(self._model, {"audio": samples[None]}, ["speech_probability"], **sequence)
        probabilities: Array = found.as_numpy()
        return probabilities


def call(model: str, inputs: Mapping[str, Any], outputs: list[str], **more: Any) -> list[Any]:
    """Another model's answer, as tensors in the order of `outputs`.

    Args:
        model: its name.
        inputs: arrays, or tensors of the same name, such as another model's answer: those are not copied.
        outputs: the names.
        more: of the request, as `pb_utils.InferenceRequest` takes it.

    Raises:
        CallFailed: it answered with an error.
    """
    tensors = [
        pb_utils.Tensor(name, np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value
        for name, value in inputs.items()
    ]
    request = pb_utils.InferenceRequest(model_name=model, requested_output_names=outputs, inputs=tensors, **more)
    response = request.exec()
    if response.has_error():
        raise CallFailed(f"{model}: {response.error().message()}")
    return [pb_utils.get_output_tensor_by_name(response, name) for name in outputs]
