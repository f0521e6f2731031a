"""A sequence of requests to a model that keeps state between them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from modelyard_client.errors import (
    ClientClosed,
    ClientError,
    ConnectionLost,
    DeadlineExceeded,
    InvalidInput,
    SequenceLost,
    UnexpectedAnswer,
)
from modelyard_client.request import Inputs, Parameter
from modelyard_client.result import Result

if TYPE_CHECKING:
    from typing_extensions import Self

    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

Failure = TypeVar("Failure", bound=ClientError)

# After these nobody knows whether the model has taken the step.
_UNKNOWN_OUTCOME = (ConnectionLost, DeadlineExceeded, ClientClosed, UnexpectedAnswer)


@dataclass(frozen=True)
class Terms:
    """What goes with every request of a sequence; `Client.sequence` explains each."""

    model: str
    version: str = ""
    priority: int = 0
    deadline: float | None = None


class Steps:
    """Where a sequence stands: which request is its first, and whether another one may follow.

    Args:
        terms: What goes with every request.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.id: int | str = 0
        self._running = threading.Lock()
        self._is_started = False
        self._over: ClientError | None = None

    @contextmanager
    def step(self, end: bool) -> Iterator[dict[str, Any]]:
        """Around one request; gives the arguments of `infer` that make it one of this sequence.

        Raises:
            InvalidInput: Another one is under way, or none may follow.
            SequenceLost: After an earlier request nobody knows what the state is.
        """
        if not self._running.acquire(blocking=False):
            raise self._error(
                InvalidInput,
                "two requests at once: the second depends on the state that the first leaves. Wait for its result, or "
                "use a sequence for each thread or task.",
            )
        try:
            self._check()
            with self._watched():
                yield self._arguments(end)
            self._is_started = True
            if end:
                self._over = self._error(InvalidInput, "it has ended (end=True): start a new one.")
        finally:
            self._running.release()

    def close(self) -> None:
        """Nothing may follow."""
        self._over = self._over or self._error(InvalidInput, "its `with` has ended: start a new one.")

    def _check(self) -> None:
        if not self.id:
            raise self._error(InvalidInput, "not begun: use it in a `with` (`async with` for AsyncClient).")
        if self._over is not None:
            raise self._over

    def _arguments(self, end: bool) -> dict[str, Any]:
        return {
            "version": self.terms.version,
            "priority": self.terms.priority,
            "deadline": self.terms.deadline,
            "sequence_id": self.id,
            "sequence_start": not self._is_started,
            "sequence_end": end,
        }

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except SequenceLost as error:
            self._over = error
            raise
        except _UNKNOWN_OUTCOME as error:
            self._over = self._lost(str(error))
            raise
        except ClientError:
            # The server refused it, or the model failed on it alone: the state is as it was.
            raise
        except BaseException as error:
            self._over = self._lost(f"it was interrupted by {type(error).__name__}")
            raise

    def _lost(self, reason: str) -> SequenceLost:
        return self._error(
            SequenceLost,
            f"whether its last request ran is unknown ({reason.rstrip('.')}), and so is the state that the server "
            "holds. Start a new sequence with its history.",
        )

    def _error(self, kind: type[Failure], what: str) -> Failure:
        return kind(f"sequence {self.id!r} of model '{self.terms.model}': {what}", model=self.terms.model)


class InferenceSequence:
    """A sequence, as `Client.sequence` makes it; use it in a `with`.

    Attributes:
        id: The id under which the server knows it; 0 before the `with`.
    """

    def __init__(self, client: Client, sequence_id: int | str | None, terms: Terms) -> None:
        self._client = client
        self._wanted = sequence_id
        self._steps = Steps(terms)

    @property
    def id(self) -> int | str:
        """The id under which the server knows it; 0 before the `with`."""
        return self._steps.id

    def infer(
        self,
        inputs: Inputs,
        *,
        end: bool = False,
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> Result:
        """Sends the sequence's next request; one at a time, never twice.

        Args:
            inputs: As for `Client.infer`.
            end: Whether it is the last: the server frees the sequence's state after it.
            outputs: The outputs to return; None returns all.
            parameters: Custom parameters for the model.

        Raises:
            SequenceLost: The server does not hold the state any more, or after a failure nobody knows what it holds.
            InvalidInput: Another request is under way, the sequence has ended, or as for `Client.infer`.
            ClientError: As for `Client.infer`. After ConnectionLost and DeadlineExceeded the sequence is lost, after
                the others it goes on.
        """
        with self._steps.step(end) as arguments:
            return self._client.infer(
                self._steps.terms.model, inputs, outputs=outputs, parameters=parameters, **arguments
            )

    def __enter__(self) -> Self:
        terms = self._steps.terms
        self._steps.id = self._client.run(
            self._client.operations.sequence_id(terms.model, terms.version, self._wanted, terms.deadline)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.close()


class AsyncInferenceSequence:
    """`InferenceSequence` for asyncio, as `AsyncClient.sequence` makes it; use it in an `async with`."""

    def __init__(self, client: AsyncClient, sequence_id: int | str | None, terms: Terms) -> None:
        self._client = client
        self._wanted = sequence_id
        self._steps = Steps(terms)

    @property
    def id(self) -> int | str:
        """The id under which the server knows it; 0 before the `async with`."""
        return self._steps.id

    async def infer(
        self,
        inputs: Inputs,
        *,
        end: bool = False,
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> Result:
        """As `InferenceSequence.infer`; cancelling it loses the sequence."""
        with self._steps.step(end) as arguments:
            return await self._client.infer(
                self._steps.terms.model, inputs, outputs=outputs, parameters=parameters, **arguments
            )

    async def __aenter__(self) -> Self:
        terms = self._steps.terms
        self._steps.id = await self._client.run(
            self._client.operations.sequence_id(terms.model, terms.version, self._wanted, terms.deadline)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.close()
