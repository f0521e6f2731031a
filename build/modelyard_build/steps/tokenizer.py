"""Text to token ids, in front of an encoder: a model for Triton's Python backend.

Reads from config.pbtxt's `parameters`:

- `max_length`: tokens that are kept, special tokens included; the rest is cut off at the end.
- `max_characters`: a longer text is refused, because reading it would hold up the requests beside it.
- `pad_to_multiple_of`: the rows of a request are padded to its longest, rounded up to this, so that the encoder behind
  sees few different widths: Triton batches only requests of equal shape.
- `pad_across_requests`: "true" pads all requests that Triton batched here to one width, so that the encoder can run
  them together whatever their lengths. It pays where a larger batch costs little, on a GPU; on a CPU the padding costs
  more than the batch saves.

What rows are filled up with, and at which end, is the tokenizer's own: the `padding` section of tokenizer.json.

`token_count` tells a caller whether its text was cut: it counts the tokens that the whole text has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from tokenizers import Encoding, Tokenizer

# The cores belong to the encoder; a batch of texts takes one thread a fraction of the encoder's time.
os.environ["TOKENIZERS_PARALLELISM"] = "false"


class InvalidText(ValueError):
    """A text that cannot be tokenized; the message is the request's answer."""


class TritonPythonModel:
    """One instance of the step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads tokenizer.json out of this version's folder.

        Args:
            args: Triton's description of the instance.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        self.max_length = _integer(parameters, "max_length")
        self.max_characters = _integer(parameters, "max_characters")
        path = Path(args["model_repository"]) / args["model_version"] / "tokenizer.json"
        self.tokenizer = Tokenizer.from_file(str(path))
        self.padding = _padding(self.tokenizer)
        # Rows are padded here, to the longest of a request: the file may ask for a fixed width.
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_length)
        self.pad_to_multiple_of = _integer(parameters, "pad_to_multiple_of")
        self.pad_across_requests = _boolean(parameters, "pad_across_requests")
        self.special_tokens = self.tokenizer.num_special_tokens_to_add(is_pair=False)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Tokenizes the texts of all requests together; a request with a bad text fails alone.

        Args:
            requests: each with `text`, BYTES [batch, 1].

        Returns:
            A response for each: `input_ids` and `attention_mask` INT64 [batch, width], `token_count` INT32 [batch, 1].
        """
        texts: list[list[str] | InvalidText] = [self._texts(request) for request in requests]
        encodings = self.tokenizer.encode_batch([text for item in texts if isinstance(item, list) for text in item])
        if self.pad_across_requests:
            self._pad(encodings)
        responses, position = [], 0
        for item in texts:
            if isinstance(item, InvalidText):
                responses.append(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(item))))
                continue
            responses.append(self._response(encodings[position : position + len(item)]))
            position += len(item)
        return responses

    def _texts(self, request: Any) -> list[str] | InvalidText:
        elements = pb_utils.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1)
        try:
            return [self._text(element, position) for position, element in enumerate(elements)]
        except InvalidText as error:
            return error

    def _text(self, element: bytes, position: int) -> str:
        try:
            text = element.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidText(
                f"text {position} is not valid UTF-8: byte 0x{element[error.start]:02x} at offset {error.start}. "
                "Encode it as UTF-8."
            ) from None
        if not text.strip():
            raise InvalidText(f"text {position} is empty. Send at least one visible character.")
        if len(text) > self.max_characters:
            raise InvalidText(
                f"text {position} has {len(text)} characters, at most {self.max_characters} are read "
                f"(and {self.max_length} tokens kept). Split it."
            )
        return text

    def _pad(self, encodings: Sequence[Encoding]) -> None:
        longest = max((len(encoding.ids) for encoding in encodings), default=0)
        width = -(-longest // self.pad_to_multiple_of) * self.pad_to_multiple_of
        for encoding in encodings:
            encoding.pad(min(width, self.max_length), **self.padding)

    def _response(self, encodings: Sequence[Encoding]) -> Any:
        self._pad(encodings)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("input_ids", np.array([encoding.ids for encoding in encodings], dtype=np.int64)),
                pb_utils.Tensor(
                    "attention_mask", np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
                ),
                pb_utils.Tensor("token_count", self._token_counts(encodings)),
            ]
        )

    def _token_counts(self, encodings: Sequence[Encoding]) -> npt.NDArray[np.int32]:
        """The tokens of each whole text: what was kept, and every piece that was cut off."""
        counts = [
            sum(sum(piece.attention_mask) - self.special_tokens for piece in [encoding, *encoding.overflowing])
            + self.special_tokens
            for encoding in encodings
        ]
        return np.array(counts, dtype=np.int32).reshape(-1, 1)


def _padding(tokenizer: Tokenizer) -> dict[str, Any]:
    """How the tokenizer fills up a row; a load error says what its file lacks."""
    if tokenizer.padding is None:
        raise ValueError(
            "tokenizer.json has no padding section, expected the id and the token that rows are filled up with. Load "
            "it with the tokenizers library, call enable_padding(pad_id=…, pad_token=…), and save it."
        )
    return {name: tokenizer.padding[name] for name in ("direction", "pad_id", "pad_type_id", "pad_token")}


def _integer(parameters: dict[str, dict[str, str]], name: str) -> int:
    """A positive integer out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", "")
    if not value.isdigit() or int(value) < 1:
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a positive whole number as string_value. "
            "Mend it in config.pbtxt."
        )
    return int(value)


def _boolean(parameters: dict[str, dict[str, str]], name: str) -> bool:
    """A "true" or "false" out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", "")
    if value not in ("true", "false"):
        raise ValueError(
            f'parameters {{ key: {name!r} }} is {value!r}, expected "true" or "false" as string_value. '
            "Mend it in config.pbtxt."
        )
    return value == "true"
