"""What systems on a text encoder share: the tokenizer step, the token inputs, real examples of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard_build import steps
from modelyard_build.assets import Asset
from modelyard_build.datasets import complaints
from modelyard_build.model import Arrays, Axis, DynamicBatching, Model, PythonModel, Step, Tensor

MAX_BATCH_SIZE = 32
TEXT = Tensor("text", "BYTES", (1,))
TOKEN_COUNT = Tensor("token_count", "INT32", (1,))
TEXT_ASSETS = {"test": complaints.TEST}
# What encoders need besides: calibration never sees the texts that verification does.
CALIBRATION_ASSETS = {"train": complaints.TRAIN}
# The first special token, one of the text, the last: the shortest text that the tokenizer lets through.
SHORTEST = 3
PAD_TO_MULTIPLE_OF = 16
# What engines are tuned for, and candidates measured at: the length of a usual complaint.
OPTIMUM_BATCH_SIZE, OPTIMUM_LENGTH = 16, 128
ENCODER_BATCHING = DynamicBatching(
    max_queue_delay_microseconds=2_000, max_queue_size=1024, default_timeout_microseconds=30_000_000
)
_WHOLE = 1_000_000


@dataclass(frozen=True)
class Tokens:
    """How an encoder reads text.

    Attributes:
        tokenizer: its tokenizer.json, with a `padding` section.
        tokenizer_class: the class of transformers that is the reference for it.
        padding: the id that rows are filled up with, as tokenizer.json says.
        max_length: tokens that are kept of a text, special tokens included.
        max_batch_size: texts at once, of the step and of the encoder behind it.
    """

    tokenizer: Asset
    tokenizer_class: str
    padding: int
    max_length: int
    max_batch_size: int = MAX_BATCH_SIZE

    @property
    def assets(self) -> dict[str, Asset]:
        """What a step, an ensemble and their examples read."""
        return {"tokenizer": self.tokenizer, **TEXT_ASSETS}

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """`input_ids` and `attention_mask`."""
        sequence = Axis("sequence", SHORTEST, self.max_length, optimum=OPTIMUM_LENGTH)
        return (
            Tensor("input_ids", "INT64", (sequence,), padding=self.padding),
            Tensor("attention_mask", "INT64", (sequence,)),
        )

    def step(self, name: str) -> PythonModel:
        """The step that turns a text into these tensors."""
        return PythonModel(
            name=name,
            summary=f"WordPiece tokens of a text, at most {self.max_length}",
            source=Path(steps.__path__[0]) / "tokenizer.py",
            inputs=(TEXT,),
            outputs=(*self.tensors, TOKEN_COUNT),
            files={"tokenizer.json": self.tokenizer},
            parameters={
                "max_length": str(self.max_length),
                "max_characters": "200000",
                "pad_to_multiple_of": str(PAD_TO_MULTIPLE_OF),
                "pad_across_requests": "false",
            },
            assets=self.assets,
            examples=example_texts,
            reference=self.reference,
            max_batch_size=self.max_batch_size,
            dynamic_batching=DynamicBatching(
                max_queue_delay_microseconds=1_000, max_queue_size=1024, default_timeout_microseconds=30_000_000
            ),
        )

    def tokenize(self, files: Mapping[str, Path], texts: Sequence[str], max_length: int) -> Arrays:
        """What the transformers library makes of texts; see `nets.tokenizing`."""
        from modelyard_build.nets.tokenizing import tokenize

        return tokenize(files["tokenizer"], self.tokenizer_class, texts, max_length)

    def reference(self, files: Mapping[str, Path], inputs: Arrays) -> Arrays:
        """What the step must give: rows of one width, a multiple of `PAD_TO_MULTIPLE_OF`."""
        texts = texts_of(inputs)
        kept, whole = self.tokenize(files, texts, self.max_length), self.tokenize(files, texts, _WHOLE)
        width = kept["input_ids"].shape[1]
        more = min(-width % PAD_TO_MULTIPLE_OF, self.max_length - width)
        return {
            **{
                tensor.name: np.pad(kept[tensor.name], ((0, 0), (0, more)), constant_values=tensor.padding)
                for tensor in self.tensors
            },
            "token_count": whole["attention_mask"].sum(1, dtype=np.int32, keepdims=True),
        }

    def examples(self, files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
        """Real token rows whose width is exactly `sizes["sequence"]`.

        Every second row is padded from half that width on, so that a mask that is not honoured shows; the last row of
        a full batch is all padding, which must come out as a number.
        """
        width = sizes["sequence"]
        texts = complaints.load(files["test"]).texts
        long_texts = [text for text in texts if len(text) > 8 * width][:batch]
        rows = self.tokenize(files, long_texts, width)
        short = self.tokenize(files, long_texts, max(SHORTEST, width // 2))
        for tensor in self.tensors:
            row, shorter = rows[tensor.name], short[tensor.name][1::2]
            row[1::2] = tensor.padding
            row[1::2, : shorter.shape[1]] = shorter
            if batch == self.max_batch_size:
                row[-1] = tensor.padding
        return rows

    def calibration(self, files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
        """Real token rows of the training split, full to the width `sizes["sequence"]`.

        Each begins at another word of its text: complaints open with the same few, which would be all that short rows
        show.
        """
        width = sizes["sequence"]
        texts = complaints.load(files["train"]).texts
        long_texts = [words for text in texts if len(words := text.split()) > width][:batch]
        # A word is a token or more, so that what follows `start` fills the row.
        starts = [7 * index % (len(words) - width) for index, words in enumerate(long_texts)]
        rest = [" ".join(words[start:]) for words, start in zip(long_texts, starts, strict=True)]
        return self.tokenize(files, rest, width)


def steps_through(tokenizer: PythonModel, encoder: Model) -> tuple[Step, ...]:
    """The two steps of an ensemble: text to tokens, tokens to what the encoder gives."""
    return tuple(
        Step(
            model=model.name,
            input_map={tensor.name: tensor.name for tensor in model.inputs},
            output_map={tensor.name: tensor.name for tensor in model.outputs},
        )
        for model in (tokenizer, encoder)
    )


def example_texts(files: Mapping[str, Path], batch: int) -> Arrays:
    """`text`, BYTES [batch, 1]: complaints from the test split, in the file's order."""
    return as_input(complaints.load(files["test"]).texts[:batch])


def as_input(texts: Sequence[str]) -> Arrays:
    """Texts as the `text` tensor, BYTES [n, 1]."""
    return {"text": np.array([text.encode() for text in texts], dtype=np.object_).reshape(-1, 1)}


def texts_of(inputs: Arrays) -> list[str]:
    """The texts of a `text` tensor, decoded."""
    return [element.decode() for element in inputs["text"].reshape(-1)]
