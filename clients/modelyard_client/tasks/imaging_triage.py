"""Chest X-rays to what comes first, by the ensemble `imaging_triage`. A demonstration, not medical."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelyard_client.datatypes import Array
from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata
from modelyard_client.request import checked_in_flight
from modelyard_client.tasks.image_classifier import Image, checked_images, named, parse_classes, requests

if TYPE_CHECKING:
    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

INPUT = "image"
PROBABILITIES, LABEL, RECOMMENDATION, THRESHOLD = "probabilities", "label", "recommendation", "urgent_threshold"
OUTPUTS = (PROBABILITIES, LABEL, RECOMMENDATION, THRESHOLD)
FINDING = "PNEUMONIA"
# The priority level of urgent requests; 0 is the model's default, which is that of routine ones.
URGENT, ROUTINE = 1, 0
# More than such a model has: all come.
CLASSES = 1000


@dataclass(frozen=True)
class Triage:
    """What a model makes of an X-ray. A demonstration, not medical: it may not decide on anybody's care.

    Attributes:
        label: The most probable class.
        probability: Of the finding, calibrated: of the X-rays with 0.7, about 7 in 10 should have it.
        probabilities: Every class with its probability, the most probable first; they have 6 decimals.
        recommendation: "urgent" where `probability` reaches `urgent_threshold`, else "routine".
        urgent_threshold: From which probability of the finding on the model says urgent.
        note: What this is, for everybody who reads it.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    recommendation: str
    urgent_threshold: float
    note: str = field(default="demonstration, not medical", init=False)

    @property
    def urgent(self) -> bool:
        """Whether it is recommended to look at it first."""
        return self.recommendation == "urgent"

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.recommendation}: {self.probability:.3f} for the finding, urgent from {self.urgent_threshold:.3f} "
            f"on; most probably {self.label} ({self.note})"
        )


class ImagingTriage:
    """Says which chest X-rays should be looked at first. A demonstration, not medical.

    Each X-ray is a request of its own, and the server joins those that wait: so one that cannot be read fails alone.

    Args:
        client: Where the model is.
        model: An ensemble with the input `image` BYTES [1] and the outputs `probabilities` FP32 [classes], with labels,
            `label` and `recommendation` BYTES [1] and `urgent_threshold` FP32 [1].
        finding: The label whose probability is given.
        in_flight: How many requests may be under way at once.
    """

    def __init__(
        self, client: Client, model: str = "imaging_triage", *, finding: str = FINDING, in_flight: int = 8
    ) -> None:
        self._client = client
        self._name = model
        self._finding = finding
        self._in_flight = checked_in_flight(in_flight)
        self._checked = False

    def triage(self, images: Iterable[Image], *, urgent: bool = False, deadline: float | None = None) -> list[Triage]:
        """Triages X-rays.

        Args:
            images: Files as `bytes`, or as the `Path` of each: JPEG, PNG, GIF or WebP; any number of them. A file is
                read when its turn comes.
            urgent: Whether they go before all that wait with the server and are not urgent. It is the sender who says
                so: what the model thinks of an X-ray is known only afterwards.
            deadline: Seconds for each of the requests; None takes the client's.

        Returns:
            For each X-ray, in their order, what the model makes of it.

        Raises:
            InvalidInput: There is no image; or one is neither bytes nor a path, is empty, or cannot be read, here or by
                the server; names it.
            IncompatibleModel: The model is of another kind, or has no such finding.
            ServerBusy: Too many wait already: of urgent ones, by default, 64.
            ClientError: As `Client.infer`.
        """
        wanted = checked_images(images)
        if not self._checked:
            check_outputs(self._client.metadata(self._name))
            self._checked = True
        results = self._client.infer_many(
            self._name,
            requests(wanted),
            in_flight=self._in_flight,
            outputs=OUTPUTS,
            class_count={PROBABILITIES: CLASSES},
            priority=URGENT if urgent else ROUTINE,
            deadline=deadline,
        )
        answers: list[Triage] = []
        try:
            for result in results:
                answers.append(parse_triage(result, self._finding))
        except InvalidInput as error:
            raise named(error, wanted, len(answers)) from error
        return answers


class AsyncImagingTriage:
    """`ImagingTriage` for an `AsyncClient`."""

    def __init__(
        self, client: AsyncClient, model: str = "imaging_triage", *, finding: str = FINDING, in_flight: int = 8
    ) -> None:
        self._client = client
        self._name = model
        self._finding = finding
        self._in_flight = checked_in_flight(in_flight)
        self._checked = False

    async def triage(
        self, images: Iterable[Image], *, urgent: bool = False, deadline: float | None = None
    ) -> list[Triage]:
        """As `ImagingTriage.triage`."""
        wanted = checked_images(images)
        if not self._checked:
            check_outputs(await self._client.metadata(self._name))
            self._checked = True
        results = self._client.infer_many(
            self._name,
            requests(wanted),
            in_flight=self._in_flight,
            outputs=OUTPUTS,
            class_count={PROBABILITIES: CLASSES},
            priority=URGENT if urgent else ROUTINE,
            deadline=deadline,
        )
        answers: list[Triage] = []
        try:
            async for result in results:
                answers.append(parse_triage(result, self._finding))
        except InvalidInput as error:
            raise named(error, wanted, len(answers)) from error
        return answers


def check_outputs(metadata: ModelMetadata) -> None:
    """Raises IncompatibleModel unless the model takes `image` and gives all that a `Triage` holds."""
    missing = sorted({INPUT, *OUTPUTS} - {spec.name for spec in (*metadata.inputs, *metadata.outputs)})
    if missing:
        raise IncompatibleModel(
            f"model '{metadata.name}' has no {', '.join(missing)}; this task needs the input {INPUT} and the outputs "
            f"{', '.join(OUTPUTS)}. Pass the name of such a model.",
            model=metadata.name,
        )


def parse_triage(outputs: Mapping[str, Array], finding: str) -> Triage:
    """Reads the answer to one X-ray.

    Args:
        outputs: `probabilities` as classes, BYTES [1, classes]; the others [1, 1].
        finding: The label whose probability is wanted.

    Raises:
        IncompatibleModel: The classes have no labels, or the finding is none of them.
    """
    probabilities = dict(parse_classes(outputs[PROBABILITIES][0]))
    if finding not in probabilities:
        raise IncompatibleModel(
            f"the model has no class {finding!r}; it has {', '.join(probabilities)}. Pass one of them as finding."
        )
    return Triage(
        label=outputs[LABEL][0, 0].decode(),
        probability=probabilities[finding],
        probabilities=probabilities,
        recommendation=outputs[RECOMMENDATION][0, 0].decode(),
        urgent_threshold=float(outputs[THRESHOLD][0, 0]),
    )
