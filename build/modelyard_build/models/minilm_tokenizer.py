"""What every system on a MiniLM encoder shares: the tokenizer step, the token inputs, real examples of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from modelyard_build import steps
from modelyard_build.datasets import complaints
from modelyard_build.model import Arrays, Axis, DynamicBatching, Model, PythonModel, Step, Tensor
from modelyard_build.nets import minilm_assets

MAX_BATCH_SIZE = 32
TEXT = Tensor("text", "BYTES", (1,))
TOKEN_COUNT = Tensor("token_count", "INT32", (1,))
TEXT_ASSETS = {"tokenizer": minilm_assets.TOKENIZER, "test": complaints.TEST}
# What encoders need besides: calibration never sees the texts that verification does.
CALIBRATION_ASSETS = {"train": complaints.TRAIN}
# [CLS], one token, [SEP]: the shortest text that the tokenizer lets through.
SHORTEST = 3
PAD_TO_MULTIPLE_OF = 16
# What engines are tuned for, and candidates measured at: the length of a usual complaint.
OPTIMUM_BATCH_SIZE, OPTIMUM_LENGTH = 16, 128
ENCODER_BATCHING = DynamicBatching(
    max_queue_delay_microseconds=2_000, max_queue_size=1024, default_timeout_microseconds=30_000_000
)


def token_tensors(max_length: int) -> tuple[Tensor, Tensor]:
    """`input_ids` and `attention_mask` of a MiniLM encoder that reads up to `max_length` tokens."""
    sequence = Axis("sequence", SHORTEST, max_length, optimum=OPTIMUM_LENGTH)
    return Tensor("input_ids", "INT64", (sequence,)), Tensor("attention_mask", "INT64", (sequence,))


def declare(name: str, max_length: int) -> PythonModel:
    """The step for texts of up to `max_length` tokens."""

    def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
        from modelyard_build.nets.minilm import tokenize

        texts = texts_of(inputs)
        kept, whole = tokenize(files, texts, max_length), tokenize(files, texts, 1_000_000)
        padding = -kept["input_ids"].shape[1] % PAD_TO_MULTIPLE_OF
        padded = {tensor: np.pad(array, ((0, 0), (0, padding))) for tensor, array in kept.items()}
        return {**padded, "token_count": whole["attention_mask"].sum(1, dtype=np.int32, keepdims=True)}

    return PythonModel(
        name=name,
        summary=f"WordPiece tokens of a text, at most {max_length}",
        source=Path(steps.__path__[0]) / "tokenizer.py",
        inputs=(TEXT,),
        outputs=(*token_tensors(max_length), TOKEN_COUNT),
        files={"tokenizer.json": minilm_assets.TOKENIZER},
        parameters={
            "max_length": str(max_length),
            "max_characters": "200000",
            "pad_to_multiple_of": str(PAD_TO_MULTIPLE_OF),
            "pad_across_requests": "false",
        },
        assets=TEXT_ASSETS,
        examples=example_texts,
        reference=reference,
        max_batch_size=MAX_BATCH_SIZE,
        dynamic_batching=DynamicBatching(
            max_queue_delay_microseconds=1_000, max_queue_size=1024, default_timeout_microseconds=30_000_000
        ),
    )


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
    texts = complaints.load(files["test"]).texts[:batch]
    return {"text": np.array([text.encode() for text in texts], dtype=np.object_).reshape(-1, 1)}


def texts_of(inputs: Arrays) -> list[str]:
    """The texts of a `text` tensor, decoded."""
    return [element.decode() for element in inputs["text"].reshape(-1)]


def example_tokens(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """Real token rows whose width is exactly `sizes["sequence"]`.

    Every second row is padded from half that width on, so that a mask that is not honoured shows; the last row of a
    full batch is all padding, which must come out as a number.
    """
    from modelyard_build.nets.minilm import tokenize

    width = sizes["sequence"]
    texts = complaints.load(files["test"]).texts
    long_texts = [text for text in texts if len(text) > 8 * width][:batch]
    tokens = tokenize(files, long_texts, width)
    shorter = max(SHORTEST, width // 2)
    short = tokenize(files, long_texts, shorter)
    for name, array in tokens.items():
        array[1::2] = 0
        array[1::2, : short[name].shape[1]] = short[name][1::2]
        if batch == MAX_BATCH_SIZE:
            array[-1] = 0
    return tokens


def calibration_tokens(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """Real token rows of the training split, full to the width `sizes["sequence"]`.

    Each begins at another word of its text: complaints open with the same few, which would be all that short rows show.
    """
    from modelyard_build.nets.minilm import tokenize

    width = sizes["sequence"]
    long_texts = [words for text in complaints.load(files["train"]).texts if len(words := text.split()) > width][:batch]
    # A word is a token or more, so that what follows `start` fills the row.
    starts = [7 * index % (len(words) - width) for index, words in enumerate(long_texts)]
    texts = [" ".join(words[start:]) for words, start in zip(long_texts, starts, strict=True)]
    return tokenize(files, texts, width)
