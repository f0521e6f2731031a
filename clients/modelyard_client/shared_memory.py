"""Requests whose large tensors lie in system shared memory: nothing of them goes over the network."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard_client.datatypes import NUMPY_DTYPES, Array
from modelyard_client.endpoint import Endpoint
from modelyard_client.errors import ClientError, ConnectionLost, DeadlineExceeded, InvalidInput
from modelyard_client.metadata import ModelSignature, TensorSpec
from modelyard_client.regions import RegionFile
from modelyard_client.request import InferOptions, Inputs, InputTensor, SharedTensors, Slice, check_names
from modelyard_client.result import Result
from modelyard_client.tensors import check_shape

if TYPE_CHECKING:
    from typing_extensions import Self

    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

# Tensors begin at multiples of a cache line.
ALIGNMENT = 64


@dataclass(frozen=True)
class Room:
    """Where a tensor lies in the region; in bytes."""

    spec: TensorSpec
    shape: tuple[int, ...]
    offset: int
    size: int


class _SharedMemory:
    """What the blocking and the async session share: the region, its arrays and when they may be used."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        model: str,
        inputs: Mapping[str, Sequence[int]],
        outputs: Mapping[str, Sequence[int]] | None,
        version: str,
    ) -> None:
        for endpoint in endpoints:
            if not endpoint.is_loopback:
                raise InvalidInput(
                    f"{endpoint.url} is not on this machine, so it shares no memory with it: use infer(), which sends "
                    "the tensors, or 127.0.0.1 where the server is local.",
                    url=endpoint.url,
                    model=model,
                )
        self._model = model
        self._version = version
        self._asked = (inputs, outputs)
        self._file: RegionFile | None = None
        self._arrays: dict[str, Array] = {}
        self._shared = SharedTensors()
        self._in_use = threading.Lock()
        self._spoilt = False

    def __getitem__(self, name: str) -> Array:
        """The array of an input, to be written in place before `infer`."""
        try:
            return self._arrays[name]
        except KeyError:
            known = ", ".join(self._arrays) or "none before the `with` is entered"
            raise InvalidInput(f"no input '{name}' lies in this shared memory; it holds {known}.") from None

    def _open(self, signature: ModelSignature) -> None:
        inputs, outputs = plan(signature, *self._asked)
        rooms = [*inputs, *outputs]
        self._file = RegionFile(max((room.offset + room.size for room in rooms), default=0))
        memory, region = self._file.memory, self._file.region
        self._arrays = {room.spec.name: _array(memory, room) for room in inputs}
        slices = {id(room): Slice(region.name, room.offset, room.size) for room in rooms}
        self._shared = SharedTensors(
            inputs={
                room.spec.name: InputTensor(room.spec.name, room.spec.datatype, room.shape, None, slices[id(room)])
                for room in inputs
            },
            outputs={room.spec.name: slices[id(room)] for room in outputs},
            views={room.spec.name: memoryview(memory)[room.offset : room.offset + room.size] for room in outputs},
            regions=(region,),
        )

    def _options(self, arguments: dict[str, Any]) -> InferOptions:
        return InferOptions(version=self._version, **arguments)

    @contextmanager
    def _using(self) -> Iterator[None]:
        """One request at a time, and none after one whose end is unknown: the server may still write."""
        if self._file is None or self._spoilt:
            raise InvalidInput(
                "this shared memory is not in use: "
                + ("a request was given up, and the server may still write. " if self._spoilt else "")
                + "Open a new one with `with client.shared_memory(...)`."
            )
        if not self._in_use.acquire(blocking=False):
            raise InvalidInput("this shared memory serves one request at a time; open one for each thread or task.")
        try:
            yield
        except BaseException as error:
            self._spoilt = not isinstance(error, ClientError) or isinstance(error, DeadlineExceeded | ConnectionLost)
            raise
        finally:
            self._in_use.release()

    def _unlink(self) -> RegionFile | None:
        """Ends the use; the name is gone before anything else can fail."""
        file, self._file = self._file, None
        self._arrays = {}
        if file is not None:
            file.unlink()
        return file


class SharedMemory(_SharedMemory):
    """A region for the tensors of one model, for one request at a time; made by `Client.shared_memory`.

    Write the inputs into their arrays (`memory["image"][...] = frame`), call `infer`, read the outputs. The outputs are
    views of the region too: the next `infer` overwrites them, `.copy()` keeps them.
    """

    def __init__(
        self,
        client: Client,
        model: str,
        inputs: Mapping[str, Sequence[int]],
        outputs: Mapping[str, Sequence[int]] | None,
        version: str,
    ) -> None:
        super().__init__(client.operations.endpoints, model, inputs, outputs, version)
        self._client = client

    def infer(self, inputs: Inputs | None = None, *, deadline: float | None = None, **arguments: Any) -> Result:
        """Runs the model on what the arrays hold.

        Args:
            inputs: The inputs that do not lie in the region; they go over the network.
            deadline: As for `Client.infer`.
            **arguments: As for `Client.infer`, all but `version`.

        Raises:
            ClientError: As `Client.infer`; SharedMemoryFailed where the server cannot map the region.
        """
        options = self._options(arguments)
        with self._using():
            flow = self._client.operations.infer(self._model, inputs or {}, options, deadline, self._shared)
            return self._client.run(flow)

    def __enter__(self) -> Self:
        self._open(self._client.run(self._client.operations.signature(self._model, self._version)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file = self._unlink()
        if file is not None:
            self._client.run(self._client.operations.release_regions(file.region))


class AsyncSharedMemory(_SharedMemory):
    """`SharedMemory` for an `AsyncClient`."""

    def __init__(
        self,
        client: AsyncClient,
        model: str,
        inputs: Mapping[str, Sequence[int]],
        outputs: Mapping[str, Sequence[int]] | None,
        version: str,
    ) -> None:
        super().__init__(client.operations.endpoints, model, inputs, outputs, version)
        self._client = client

    async def infer(self, inputs: Inputs | None = None, *, deadline: float | None = None, **arguments: Any) -> Result:
        """As `SharedMemory.infer`."""
        options = self._options(arguments)
        with self._using():
            flow = self._client.operations.infer(self._model, inputs or {}, options, deadline, self._shared)
            return await self._client.run(flow)

    async def __aenter__(self) -> Self:
        self._open(await self._client.run(self._client.operations.signature(self._model, self._version)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file = self._unlink()
        if file is not None:
            await self._client.run(self._client.operations.release_regions(file.region))


def plan(
    signature: ModelSignature, inputs: Mapping[str, Sequence[int]], outputs: Mapping[str, Sequence[int]] | None
) -> tuple[list[Room], list[Room]]:
    """Gives each tensor its place, one behind the other.

    Raises:
        InvalidInput: A name is unknown, a shape does not fit the model, or a tensor is BYTES.
    """
    check_names(signature, "input", inputs, signature.inputs)
    check_names(signature, "output", outputs or {}, signature.outputs)
    if outputs is None:
        outputs = _known_outputs(signature, [shape[0] for shape in inputs.values() if len(shape)])
    rooms: list[Room] = []
    for kind, specs, shapes in (("input", signature.inputs, inputs), ("output", signature.outputs, outputs)):
        for name, shape in shapes.items():
            what = f"{kind} '{name}' of model '{signature.model}'"
            offset = _aligned(rooms[-1].offset + rooms[-1].size) if rooms else 0
            rooms.append(_room(what, specs[name], tuple(shape), offset, signature.max_batch_size))
    return rooms[: len(inputs)], rooms[len(inputs) :]


def _known_outputs(signature: ModelSignature, batches: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The outputs whose size follows from the metadata and the batch."""
    shapes = {}
    for name, spec in signature.outputs.items():
        shape = (batches[0], *spec.shape[1:]) if signature.max_batch_size > 0 and batches else spec.shape
        if spec.datatype != "BYTES" and -1 not in shape:
            shapes[name] = shape
    return shapes


def _room(what: str, spec: TensorSpec, shape: tuple[int, ...], offset: int, max_batch_size: int) -> Room:
    check_shape(what, spec, shape, max_batch_size)
    if spec.datatype == "BYTES":
        raise InvalidInput(f"{what} is BYTES, whose size differs from value to value: leave it to the network.")
    return Room(spec, shape, offset, math.prod(shape) * NUMPY_DTYPES[spec.datatype].itemsize)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _array(memory: Any, room: Room) -> Array:
    dtype = NUMPY_DTYPES[room.spec.datatype]
    return np.frombuffer(memory, dtype, math.prod(room.shape), room.offset).reshape(room.shape)
