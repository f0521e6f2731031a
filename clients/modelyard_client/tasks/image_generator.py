"""A seed in, a stream of images out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard_client.aio import AsyncClient
from modelyard_client.client import Client
from modelyard_client.datatypes import Array
from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata
from modelyard_client.result import Result
from modelyard_client.tasks.streamed import AsyncStreamed, Streamed

INPUTS = ("seed", "count", "first_index")
OUTPUTS = ("image", "index", "seed")
MOST = 2**63 - 1


@dataclass(frozen=True)
class GeneratedImage:
    """One image of a seed.

    Attributes:
        seed: What it was asked for with.
        index: Which of the seed's images it is.
        png: Its file.
    """

    seed: int
    index: int
    png: bytes

    def save(self, path: Path) -> Path:
        """Writes the file; a folder gets one named after seed and index. Returns where it is.

        Raises:
            OSError: It cannot be written.
        """
        file = path / f"{self.seed}-{self.index}.png" if path.is_dir() else path
        file.write_bytes(self.png)
        return file


class ImageGenerator:
    """Makes images with a model that streams them, over gRPC.

    Args:
        client: Where the model is.
        model: A decoupled model with the inputs `seed`, `count` and `first_index` INT64 [1] and the outputs `image`
            BYTES [1], `index` and `seed` INT64 [1].
    """

    def __init__(self, client: Client, model: str = "image_generator") -> None:
        self._model = Streamed(client, model, check_tensors, parse_image)

    def generate(
        self, *, seed: int, count: int = 1, first_index: int = 0, deadline: float | None = None
    ) -> Generator[GeneratedImage, None, None]:
        """Makes images of a seed, and yields each as soon as it is there.

        Image `index` of a seed has the same bytes however many are asked for, as long as the model on the server stays
        the same: what a broken stream still owes is asked for with `first_index`. Closing the generator (at the end of
        `with contextlib.closing(...)`) stops the work on the server.

        Args:
            seed: 0 to 2**63 - 1.
            count: How many; the model says how many it makes for one request.
            first_index: The index of the first.
            deadline: Seconds until the last image; None takes the client's.

        Raises:
            InvalidInput: A number is out of range, or the model makes fewer for one request.
            IncompatibleModel: The model is of another kind.
            ClientError: As `Client.stream`; each image that came before is whole.
        """
        return self._model.responses(checked_request(seed, count, first_index), deadline)


class AsyncImageGenerator:
    """`ImageGenerator` for an `AsyncClient`."""

    def __init__(self, client: AsyncClient, model: str = "image_generator") -> None:
        self._model = AsyncStreamed(client, model, check_tensors, parse_image)

    def generate(
        self, *, seed: int, count: int = 1, first_index: int = 0, deadline: float | None = None
    ) -> AsyncGenerator[GeneratedImage, None]:
        """As `ImageGenerator.generate`; `contextlib.aclosing` closes it."""
        return self._model.responses(checked_request(seed, count, first_index), deadline)


def checked_request(seed: int, count: int, first_index: int) -> dict[str, Array]:
    """The inputs of a request, each int64 [1].

    Raises:
        InvalidInput: A number is none, or out of range; says which.
    """
    _check_integer("seed", seed, 0, MOST)
    _check_integer("count", count, 1, MOST)
    _check_integer("first_index", first_index, 0, MOST - count)
    return {name: np.array([value], np.int64) for name, value in zip(INPUTS, (seed, count, first_index), strict=True)}


def _check_integer(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidInput(f"{name} is a {type(value).__name__}; it is a whole number.")
    if not least <= value <= most:
        raise InvalidInput(f"{name} is {value}; it is a whole number from {least} to {most}.")


def check_tensors(metadata: ModelMetadata) -> None:
    """Raises IncompatibleModel unless the model takes a seed and a count and gives images."""
    inputs, outputs = ({spec.name for spec in specs} for specs in (metadata.inputs, metadata.outputs))
    missing = [*(f"input {name}" for name in INPUTS if name not in inputs)]
    missing += [f"output {name}" for name in OUTPUTS if name not in outputs]
    if missing:
        raise IncompatibleModel(
            f"model '{metadata.name}' has no {', no '.join(missing)}; this task needs the inputs {', '.join(INPUTS)} "
            f"and the outputs {', '.join(OUTPUTS)}. Pass the name of such a model.",
            model=metadata.name,
        )


def parse_image(result: Result) -> GeneratedImage:
    """One response."""
    return GeneratedImage(seed=int(result["seed"][0]), index=int(result["index"][0]), png=bytes(result["image"][0]))
