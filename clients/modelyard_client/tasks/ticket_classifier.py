"""Complaints to products, by the ensemble `ticket_classifier`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelyard_client.datatypes import Array
from modelyard_client.errors import IncompatibleModel
from modelyard_client.tasks.runner import Answered, AsyncTextTask, TextTask
from modelyard_client.tasks.texts import in_order

if TYPE_CHECKING:
    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

OUTPUT = "probabilities"


@dataclass(frozen=True)
class Prediction:
    """What a text is about.

    Attributes:
        label: The most probable class.
        probability: Its probability.
        probabilities: Every class with its probability, the most probable first; they have 6 decimals, see
            `TicketClassifier`.
    """

    label: str
    probability: float
    probabilities: dict[str, float]


class TicketClassifier(TextTask):
    """Says which product a complaint is about.

    Labels and probabilities come together through Triton's classification extension, so that they belong together at
    every moment, also while a new version with other labels is loaded. The extension writes 6 decimals; ask
    `Client.infer` for the output `probabilities` where all of float32 is needed.

    Args:
        client: Where the model is.
        model: An ensemble with the input `text` BYTES [1] and the outputs `probabilities` FP32 [classes], with labels,
            and `token_count` INT32 [1], whose tokenizer is the model `<model>_tokenizer`.
        in_flight: How many requests may be under way at once.
    """

    def __init__(self, client: Client, model: str = "ticket_classifier", *, in_flight: int = 8) -> None:
        super().__init__(client, model, OUTPUT, in_flight, as_classes=True)

    def classify(
        self, texts: Iterable[str | bytes], *, truncate: bool = True, deadline: float | None = None
    ) -> list[Prediction]:
        """Classifies texts.

        Args:
            texts: `str`, or `bytes` of UTF-8; any number of them.
            truncate: Whether a text with more tokens than the model reads is cut off, with the warning TextTruncated;
                else it is refused, after the model has counted its tokens.
            deadline: Seconds for each of the requests that the texts are sent in; None takes the client's.

        Returns:
            One prediction a text, in their order.

        Raises:
            InvalidInput: There is no text; or one is no text, empty, whitespace, no valid UTF-8 or too long; names it.
            IncompatibleModel: The model is of another kind, or its classes have no labels.
            ClientError: As `Client.infer`.
        """
        return _predictions(self._run(texts, truncate, deadline))


class AsyncTicketClassifier(AsyncTextTask):
    """`TicketClassifier` for an `AsyncClient`."""

    def __init__(self, client: AsyncClient, model: str = "ticket_classifier", *, in_flight: int = 8) -> None:
        super().__init__(client, model, OUTPUT, in_flight, as_classes=True)

    async def classify(
        self, texts: Iterable[str | bytes], *, truncate: bool = True, deadline: float | None = None
    ) -> list[Prediction]:
        """As `TicketClassifier.classify`."""
        return _predictions(await self._run(texts, truncate, deadline))


def _predictions(answered: Answered) -> list[Prediction]:
    return in_order((chunk, [parse_classes(row) for row in result[OUTPUT]]) for chunk, result in answered)


def parse_classes(row: Array) -> Prediction:
    """Reads `b"value:index:label"`, the most probable first (Triton's classification extension).

    Args:
        row: BYTES [classes].

    Raises:
        IncompatibleModel: A class has no label, or two have the same.
    """
    probabilities: dict[str, float] = {}
    for item in row:
        value, index, *label = item.decode().split(":", 2)
        if not label or label[0] in probabilities:
            problem = "the label of another class" if label else "no label"
            raise IncompatibleModel(
                f"class {index} of the output {OUTPUT} has {problem}: the model's configuration needs label_filename "
                "with a different line for every class."
            )
        probabilities[label[0]] = float(value)
    label_of_first = next(iter(probabilities))
    return Prediction(label_of_first, probabilities[label_of_first], probabilities)
