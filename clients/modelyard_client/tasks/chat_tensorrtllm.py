"""A language model as TensorRT-LLM's LLM API serves it on Triton: an input for each sampling parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard_client.datatypes import Array
from modelyard_client.errors import InvalidInput
from modelyard_client.metadata import ModelMetadata

PREFIX = "sampling_param_"
DTYPES: Mapping[str, npt.DTypeLike] = {
    "max_tokens": np.int32,
    "temperature": np.float32,
    "top_k": np.int32,
    "top_p": np.float32,
    "frequency_penalty": np.float32,
    "presence_penalty": np.float32,
    "seed": np.uint64,
}


def is_meant(metadata: ModelMetadata) -> bool:
    """Whether a model takes its parameters one by one."""
    return {"text_input", f"{PREFIX}max_tokens"} <= {spec.name for spec in metadata.inputs}


def request(prompt: str, wanted: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs.

    Args:
        prompt: what is to be gone on from.
        wanted: the sampling parameters by vLLM's names.

    Raises:
        InvalidInput: There is no input for one of them, or a value is not of its kind.
    """
    given = dict(wanted)
    stop = given.pop("stop", [])
    if given.get("temperature") == 0:
        # The likeliest token always is said by top_k.
        given = {**given, "top_k": 1}
        del given["temperature"]
    return {
        "text_input": np.array([prompt.encode()], np.object_),
        **{f"{PREFIX}{name}": _number(name, value) for name, value in given.items()},
        **({f"{PREFIX}stop": np.array([text.encode() for text in stop], np.object_)} if stop else {}),
        **{
            flag: np.array([True])
            for flag in ("streaming", f"{PREFIX}exclude_input_from_output", "return_finish_reason")
        },
    }


def _number(name: str, value: Any) -> Array:
    if name not in DTYPES:
        raise InvalidInput(
            f"this model has no sampling parameter {name!r}; it has {', '.join(sorted(DTYPES))} and stop. Leave it out."
        )
    dtype = np.dtype(DTYPES[name])
    if dtype.kind == "f":
        fits = isinstance(value, int | float)
    else:
        fits = isinstance(value, int) and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    if not fits or isinstance(value, bool):
        raise InvalidInput(f"{name} is {value!r:.60}, expected a number that {dtype} holds.")
    return np.array([value], dtype)


class Reader:
    """The new part of each response, which holds the whole text so far."""

    def __init__(self) -> None:
        self._said = ""

    def new(self, text: str) -> str:
        """What is beyond the response before. What is no whole character yet, U+FFFD, waits for the next."""
        known = len(self._said)
        whole = text.rstrip("\ufffd")
        if len(whole) <= known:
            return ""
        self._said = whole
        return whole[known:]

    def rest(self, text: str) -> str:
        """The same of the last response, of which all counts."""
        return text[len(self._said) :]
