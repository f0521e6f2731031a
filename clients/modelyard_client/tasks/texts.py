"""What every task on texts does without I/O: checks them, cuts them into chunks, tells what was truncated."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from modelyard_client.datatypes import Array
from modelyard_client.errors import IncompatibleModel, InvalidInput, TextTruncated, describe_truncation
from modelyard_client.metadata import ModelMetadata, TensorSpec
from modelyard_client.result import Result

Row = TypeVar("Row")


@dataclass(frozen=True)
class TextModel:
    """What a task must know of its model.

    Attributes:
        name: The ensemble that takes BYTES `text` and gives INT32 `token_count`, both [batch, 1].
        max_batch_size: Texts in one request, at most.
        max_tokens: Tokens of a text that the model reads; the rest is cut off.
        output: The output that the task is about.
    """

    name: str
    max_batch_size: int
    max_tokens: int
    output: TensorSpec


@dataclass(frozen=True)
class Chunk:
    """One request of a task.

    Attributes:
        positions: Where its texts stand in the list that was passed.
        texts: BYTES [len(positions), 1].
    """

    positions: tuple[int, ...]
    texts: Array


def check_tensors(metadata: ModelMetadata, output: str) -> None:
    """Raises IncompatibleModel unless the model takes `text` and gives `output` and `token_count`."""
    missing = sorted({"text", output, "token_count"} - {spec.name for spec in (*metadata.inputs, *metadata.outputs)})
    if missing:
        raise IncompatibleModel(
            f"model '{metadata.name}' has no {', '.join(missing)}; this task needs the input text and the outputs "
            f"{output} and token_count. Pass the name of such a model.",
            model=metadata.name,
        )


def text_model(metadata: ModelMetadata, config: Any, tokenizer_config: Any, output: str) -> TextModel:
    """Reads what a task must know.

    Args:
        metadata: Of the ensemble, which passed `check_tensors`.
        config: Of the ensemble.
        tokenizer_config: Of `<ensemble>_tokenizer`, whose parameter `max_length` is the number of tokens.
        output: The name of the output that the task is about.

    Raises:
        IncompatibleModel: The tokenizer has no `max_length`.
    """
    parameters = tokenizer_config.parameters
    limit = parameters["max_length"].string_value if "max_length" in parameters else ""
    if not limit.isdigit():
        raise IncompatibleModel(
            f"model '{tokenizer_config.name}' has max_length '{limit}' among its parameters; this task needs a number, "
            'the tokens that are kept: parameters { key: "max_length" value: { string_value: "256" } }.',
            model=tokenizer_config.name,
        )
    spec = next(spec for spec in metadata.outputs if spec.name == output)
    return TextModel(metadata.name, max(config.max_batch_size, 1), int(limit), spec)


def class_count(model: TextModel) -> dict[str, int]:
    """Asks for every class of the model's output.

    Raises:
        IncompatibleModel: The metadata does not say how many there are.
    """
    classes = model.output.shape[-1]
    if classes < 1:
        raise IncompatibleModel(
            f"the output {model.output.name} of model '{model.name}' has shape {list(model.output.shape)}; this task "
            "needs the number of classes in the model's configuration.",
            model=model.name,
        )
    return {model.output.name: classes}


def checked_texts(texts: Iterable[str | bytes]) -> list[bytes]:
    """The texts as UTF-8.

    Raises:
        InvalidInput: There is none; or one is no text, empty, only whitespace or no valid UTF-8; names its position.
    """
    if isinstance(texts, str | bytes):
        raise InvalidInput(f"texts is a single {type(texts).__name__}; pass a list of texts: [text].")
    if not isinstance(texts, Iterable) or isinstance(texts, Mapping):
        raise InvalidInput(f"texts is a {type(texts).__name__}; pass a list of str.")
    checked = [_checked_text(position, text) for position, text in enumerate(texts)]
    if not checked:
        raise InvalidInput("texts is empty; pass at least one text.")
    return checked


def _checked_text(position: int, text: Any) -> bytes:
    where = f"texts[{position}]"
    if not isinstance(text, str | bytes):
        raise InvalidInput(f"{where} is a {type(text).__name__}; every text is a str, or bytes of UTF-8.")
    try:
        decoded = text if isinstance(text, str) else text.decode()
        encoded = decoded.encode()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{where} is no valid UTF-8: byte {error.start} is 0x{text[error.start]:02x}. Decode it with the encoding "
            "that it has, for example text.decode('latin-1')."
        ) from None
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{where} cannot be written as UTF-8: character {error.start} is a lone surrogate. It was decoded with "
            "another encoding than it has, or cut in the middle of a character."
        ) from None
    if not decoded.strip():
        raise InvalidInput(f"{where} is {'only whitespace' if decoded else 'empty'}; leave it out, it says nothing.")
    return encoded


def chunks(texts: Sequence[bytes], size: int) -> Iterator[Chunk]:
    """Cuts texts into requests of `size` at most.

    Texts of about the same length go together: a request is padded to its longest text, and padding costs as much as
    text.
    """
    order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
    for start in range(0, len(order), size):
        positions = tuple(order[start : start + size])
        column = np.array([texts[position] for position in positions], dtype=np.object_)
        yield Chunk(positions, column.reshape(-1, 1))


def in_order(parts: Iterable[tuple[Chunk, Sequence[Row]]]) -> list[Row]:
    """The rows of all chunks, as the texts were passed."""
    rows = {position: row for chunk, part in parts for position, row in zip(chunk.positions, part, strict=True)}
    return [rows[position] for position in sorted(rows)]


def check_truncation(results: Iterable[tuple[Chunk, Result]], max_tokens: int, truncate: bool) -> None:
    """Tells of texts that the model read only the beginning of: warns TextTruncated.

    Raises:
        InvalidInput: There are such texts, and `truncate` is False.
    """
    too_long = {
        position: int(count)
        for chunk, result in results
        for position, count in zip(chunk.positions, result["token_count"].ravel(), strict=True)
        if count > max_tokens
    }
    if too_long and not truncate:
        raise InvalidInput(f"{describe_truncation(too_long, max_tokens)}. Split them, or pass truncate=True.")
    if too_long:
        # The line that is named is the caller's of the task, three frames up in the blocking form.
        warnings.warn(TextTruncated(too_long, max_tokens), stacklevel=4)
