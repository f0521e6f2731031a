"""Images to what is on them, by the ensemble `image_classifier`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from modelyard_client.datatypes import Array
from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata
from modelyard_client.request import checked_in_flight

if TYPE_CHECKING:
    from modelyard_client.aio import AsyncClient
    from modelyard_client.client import Client

INPUT, OUTPUT = "image", "probabilities"
TOP_K = 5

Image: TypeAlias = bytes | Path
Classes: TypeAlias = list[tuple[str, float]]


class ImageClassifier:
    """Says what is on a photograph.

    Each image is a request of its own, and the server joins those that wait: so one that cannot be read fails alone,
    and a server with a response cache answers an image that it has seen without computing anything.

    Labels and probabilities come together through Triton's classification extension, so that they belong together at
    every moment, also while a new version with other labels is loaded. The extension writes 6 decimals; ask
    `Client.infer` for the output `probabilities` where all of float32 is needed.

    Args:
        client: Where the model is.
        model: An ensemble with the input `image` BYTES [1] and the output `probabilities` FP32 [classes], with labels.
        in_flight: How many requests may be under way at once.
    """

    def __init__(self, client: Client, model: str = "image_classifier", *, in_flight: int = 8) -> None:
        self._client = client
        self._name = model
        self._in_flight = checked_in_flight(in_flight)
        self._checked = False

    def classify(self, images: Iterable[Image], *, top_k: int = TOP_K, deadline: float | None = None) -> list[Classes]:
        """Classifies images.

        Args:
            images: Files as `bytes`, or as the `Path` of each: JPEG, PNG, GIF or WebP; any number of them. A file is
                read when its turn comes.
            top_k: How many classes to give for each image.
            deadline: Seconds for each of the requests; None takes the client's.

        Returns:
            For each image, in their order, its `top_k` most probable classes (all, where there are fewer) as label and
            probability, the most probable first.

        Raises:
            InvalidInput: There is no image; or one is neither bytes nor a path, is empty, or cannot be read, here or by
                the server; names it.
            IncompatibleModel: The model is of another kind, or its classes have no labels.
            ClientError: As `Client.infer`.
        """
        wanted = checked_images(images)
        if not self._checked:
            check_tensors(self._client.metadata(self._name))
            self._checked = True
        results = self._client.infer_many(
            self._name,
            requests(wanted),
            in_flight=self._in_flight,
            class_count={OUTPUT: checked_top_k(top_k)},
            deadline=deadline,
        )
        answers: list[Classes] = []
        try:
            for result in results:
                answers.append(parse_classes(result[OUTPUT][0]))
        except InvalidInput as error:
            raise named(error, wanted, len(answers)) from error
        return answers


class AsyncImageClassifier:
    """`ImageClassifier` for an `AsyncClient`."""

    def __init__(self, client: AsyncClient, model: str = "image_classifier", *, in_flight: int = 8) -> None:
        self._client = client
        self._name = model
        self._in_flight = checked_in_flight(in_flight)
        self._checked = False

    async def classify(
        self, images: Iterable[Image], *, top_k: int = TOP_K, deadline: float | None = None
    ) -> list[Classes]:
        """As `ImageClassifier.classify`."""
        wanted = checked_images(images)
        if not self._checked:
            check_tensors(await self._client.metadata(self._name))
            self._checked = True
        results = self._client.infer_many(
            self._name,
            requests(wanted),
            in_flight=self._in_flight,
            class_count={OUTPUT: checked_top_k(top_k)},
            deadline=deadline,
        )
        answers: list[Classes] = []
        try:
            async for result in results:
                answers.append(parse_classes(result[OUTPUT][0]))
        except InvalidInput as error:
            raise named(error, wanted, len(answers)) from error
        return answers


def check_tensors(metadata: ModelMetadata) -> None:
    """Raises IncompatibleModel unless the model takes `image` and gives `probabilities`."""
    missing = sorted({INPUT, OUTPUT} - {spec.name for spec in (*metadata.inputs, *metadata.outputs)})
    if missing:
        raise IncompatibleModel(
            f"model '{metadata.name}' has no {', '.join(missing)}; this task needs the input {INPUT} and the output "
            f"{OUTPUT}. Pass the name of such a model.",
            model=metadata.name,
        )


def checked_top_k(top_k: int) -> int:
    """Raises InvalidInput for what cannot be a number of classes."""
    if top_k < 1:
        raise InvalidInput(f"top_k is {top_k}; it is the number of classes for each image, 1 or more.")
    return top_k


def checked_images(images: Iterable[Image]) -> list[Image]:
    """The images as they came.

    Raises:
        InvalidInput: There is none; or one is neither bytes nor a path, or is empty; names its position.
    """
    if isinstance(images, str | bytes | Path):
        raise InvalidInput(f"images is a single {type(images).__name__}; pass a list of images: [image].")
    if not isinstance(images, Iterable) or isinstance(images, Mapping):
        raise InvalidInput(f"images is a {type(images).__name__}; pass a list of bytes or pathlib.Path.")
    found = list(images)
    if not found:
        raise InvalidInput("images is empty; pass at least one image.")
    for position, image in enumerate(found):
        if not isinstance(image, bytes | Path):
            hint = "; for a path, pass pathlib.Path(...)" if isinstance(image, str) else ""
            raise InvalidInput(
                f"images[{position}] is a {type(image).__name__}; every image is the bytes of its file, or the "
                f"pathlib.Path of it{hint}."
            )
        if image == b"":
            raise InvalidInput(f"images[{position}] is empty; leave it out, or see what it was read from.")
    return found


def requests(images: Iterable[Image]) -> Iterator[dict[str, Array]]:
    """The inputs of one request for each image; files are read as requests are taken."""
    for position, image in enumerate(images):
        yield {INPUT: np.array([[content_of(image, position)]], dtype=np.object_)}


def content_of(image: Image, position: int) -> bytes:
    """The bytes of an image's file.

    Raises:
        InvalidInput: The file cannot be read; names it.
    """
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except OSError as error:
        raise InvalidInput(f"images[{position}], {image}, cannot be read: {error.strerror}.") from error


def named(error: InvalidInput, images: list[Image], position: int) -> InvalidInput:
    """The server's refusal of an image, with the image's own name: to the server each is the first of its request."""
    if error.url is None:
        # Found here, before anything was sent: it has its name.
        return error
    image = images[position]
    what = f"images[{position}]" + (f", {image}" if isinstance(image, Path) else "")
    return InvalidInput(f"{what}: {error}", url=error.url, model=error.model, request_id=error.request_id)


def parse_classes(row: Array) -> Classes:
    """Reads `b"value:index:label"`, the most probable first (Triton's classification extension).

    Args:
        row: BYTES [classes].

    Raises:
        IncompatibleModel: A class has no label.
    """
    classes: Classes = []
    for item in row:
        value, index, *label = item.decode().split(":", 2)
        if not label:
            raise IncompatibleModel(
                f"class {index} of the output {OUTPUT} has no label: the model's configuration needs label_filename "
                "with a line for every class."
            )
        classes.append((label[0], float(value)))
    return classes
