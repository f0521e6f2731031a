"""The answer to a request: pure, from Triton's raw content to numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from modelyard_client.datatypes import NUMPY_DTYPES, Array, decode
from modelyard_client.errors import UnexpectedAnswer


@dataclass(frozen=True)
class OutputTensor:
    """An output as it came; `data` is empty where it lies in shared memory."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview


@dataclass(frozen=True)
class InferResponse:
    """An answer as either protocol carries it."""

    model: str
    version: str
    request_id: str
    outputs: tuple[OutputTensor, ...] = field(default=())


@dataclass(frozen=True)
class StreamPart:
    """One message of a stream: a response, the sign that it was the last, or both."""

    response: InferResponse | None
    is_final: bool


class Result(Mapping[str, Array]):
    """The outputs of one request, by name: read-only views of the answer, of which `.copy()` makes a writable array.

    BYTES are object arrays of `bytes`, BF16 are uint16 arrays of bits (`modelyard_client.bfloat16_to_float32`).

    Attributes:
        model: The model that answered.
        model_version: The version that answered.
        request_id: The id that the request was sent under.
    """

    def __init__(self, arrays: Mapping[str, Array], *, model: str, model_version: str, request_id: str) -> None:
        self._arrays = dict(arrays)
        self.model = model
        self.model_version = model_version
        self.request_id = request_id

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name}: {array.dtype} {list(array.shape)}" for name, array in self._arrays.items())
        return f"<Result of {self.model}/{self.model_version}: {outputs}>"


def decode_response(response: InferResponse, request_id: str, shared: Mapping[str, memoryview]) -> Result:
    """Reads the outputs.

    Args:
        response: The answer.
        request_id: The id that the request was sent under.
        shared: Output name -> its part of a shared-memory region.

    Raises:
        UnexpectedAnswer: An output's datatype is unknown, or its content does not have its shape's size.
    """
    arrays = {output.name: _decode_output(response, output, shared) for output in response.outputs}
    return Result(arrays, model=response.model, model_version=response.version, request_id=request_id)


def _decode_output(response: InferResponse, output: OutputTensor, shared: Mapping[str, memoryview]) -> Array:
    data = output.data
    try:
        if output.name in shared:
            data = _used(output, shared[output.name])
        return decode(data, output.datatype, output.shape)
    except (KeyError, ValueError) as error:
        raise UnexpectedAnswer(
            f"output '{output.name}' of model '{response.model}' came as {output.datatype} {list(output.shape)} "
            f"with {len(data)} bytes, which do not fit together ({error}); is a proxy changing the answer?",
            model=response.model,
        ) from error


def _used(output: OutputTensor, region: memoryview) -> memoryview:
    """The part of a region that this answer fills: an output may be smaller than the room made for it."""
    size = NUMPY_DTYPES[output.datatype].itemsize
    for dimension in output.shape:
        size *= dimension
    return region[:size]
