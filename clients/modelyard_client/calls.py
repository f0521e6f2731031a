"""What can be asked of a server, whichever protocol carries it. Each call is typed by its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from modelyard_client.metadata import ModelMetadata
from modelyard_client.request import InferRequest, Region
from modelyard_client.result import InferResponse

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """The base of all of them."""

    @property
    def model(self) -> str | None:
        """The model that it is about."""
        return None

    @property
    def request_id(self) -> str | None:
        """The id of the inference request that it carries."""
        return None

    @property
    def sequence_id(self) -> int | str:
        """The sequence that it belongs to; 0 is none."""
        return 0


@dataclass(frozen=True)
class ServerLive(Call[bool]):
    """Does the server answer at all?"""


@dataclass(frozen=True)
class ServerReady(Call[bool]):
    """Does the server say that its models are loaded?"""


@dataclass(frozen=True)
class _ModelCall(Call[Answer]):
    name: str
    version: str = ""

    @property
    def model(self) -> str | None:
        return self.name


@dataclass(frozen=True)
class ModelReady(_ModelCall[bool]):
    """Does the server say that the model can infer?"""


@dataclass(frozen=True)
class GetMetadata(_ModelCall[ModelMetadata]):
    """The model's metadata."""


@dataclass(frozen=True)
class GetConfig(_ModelCall[Any]):
    """The model's configuration, a `ModelConfig` message."""


@dataclass(frozen=True)
class Infer(Call[InferResponse]):
    """An inference, and the shared-memory regions that its tensors lie in."""

    request: InferRequest
    regions: tuple[Region, ...] = ()

    @property
    def model(self) -> str | None:
        """The model that it runs."""
        return self.request.model

    @property
    def request_id(self) -> str | None:
        """The id of the request."""
        return self.request.request_id

    @property
    def sequence_id(self) -> int | str:
        """The sequence of the request."""
        return self.request.sequence_id


@dataclass(frozen=True)
class InferStream(Infer):
    """An inference whose responses come one by one, any number of them."""


@dataclass(frozen=True)
class RegisterRegion(Call[None]):
    """Maps a system shared-memory region into the server."""

    name: str
    key: str
    size: int


@dataclass(frozen=True)
class UnregisterRegion(Call[None]):
    """Unmaps it."""

    name: str
