"""What text systems share: rows of tokens, whatever a tokenizer pads with, and how a served step is held to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard_build.assets import fetch
from modelyard_build.datasets import complaints
from modelyard_build.errors import VerificationFailed
from modelyard_build.model import Array, Arrays
from modelyard_build.models.passage_embedder import TOKENIZER, TOKENS
from modelyard_build.models.text_encoder import as_input, texts_of
from modelyard_build.served import verify_python_model
from support.small_passages import write_small_mpnet

PADDING = 1


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    own = write_small_mpnet(tmp_path_factory.mktemp("tokenizer"))
    return {**own, **fetch({"test": complaints.TEST, "train": complaints.TRAIN}, print)}


def test_rows_are_filled_up_with_the_tokenizers_own_padding(files: dict[str, Path]) -> None:
    """To the longest of them, up to the next multiple of 16, and never to the fixed width that the file asks for."""
    answer = TOKENS.reference(files, as_input(["my card", "a credit"]))
    assert answer["input_ids"].shape == (2, 16)
    lengths = answer["attention_mask"].sum(1)
    for row, mask, length in zip(answer["input_ids"], answer["attention_mask"], lengths, strict=True):
        assert (row[length:] == PADDING).all()
        assert (row[:length] != PADDING).all()
        assert (mask[:length] == 1).all()
    np.testing.assert_array_equal(answer["token_count"][:, 0], lengths)


def test_no_row_is_wider_than_the_encoder_reads(files: dict[str, Path]) -> None:
    """A text that is cut keeps its own count."""
    answer = TOKENS.reference(files, as_input(["card " * 1000]))
    assert answer["input_ids"].shape == (1, TOKENS.max_length)
    assert answer["token_count"].tolist() == [[1002]]


@pytest.mark.parametrize("width", [3, 20, 384])
def test_examples_are_padded_where_the_mask_says(files: dict[str, Path], width: int) -> None:
    """Every second row to half its width, and the last one of a full batch throughout."""
    rows = TOKENS.examples(files, TOKENS.max_batch_size, {"sequence": width})
    np.testing.assert_array_equal(rows["input_ids"] == PADDING, rows["attention_mask"] == 0)
    assert rows["attention_mask"][0].all()
    assert rows["attention_mask"][1].sum() == max(3, width // 2)
    assert not rows["attention_mask"][-1].any()


def test_calibration_rows_are_full(files: dict[str, Path]) -> None:
    """Ranges come from texts, not from padding."""
    assert TOKENS.calibration(files, 4, {"sequence": 64})["attention_mask"].all()


TEXTS = ["my account is a long way off", "my card", "a loan", "the debt"] * 2


class Served:
    """The step in this process: two texts a batch, and the answers joined as a client joins them, with zeros."""

    def __init__(self, files: Mapping[str, Path], padding: int = PADDING, wrong: str = "") -> None:
        self._files = files
        self._padding = padding
        self._wrong = wrong

    def infer(self, model: str, inputs: Arrays, protocol: str) -> Arrays:
        """One token is another, where it should be wrong."""
        texts = texts_of(inputs)
        batches = [self._answers(texts[start : start + 2]) for start in range(0, len(texts), 2)]
        width = max(batch["input_ids"].shape[1] for batch in batches)
        answers = {
            tensor.name: np.concatenate([_widened(batch[tensor.name], width) for batch in batches])
            for tensor in TOKENIZER.outputs
        }
        if self._wrong and len(texts) > 3:
            answers[self._wrong][3, 1] = 7
        return answers

    def _answers(self, texts: Sequence[str]) -> Arrays:
        answers = TOKENS.reference(self._files, as_input(texts))
        answers["input_ids"][answers["attention_mask"] == 0] = self._padding
        return answers


def _widened(array: Array, width: int) -> Array:
    return array if array.shape[1] == 1 else np.pad(array, ((0, 0), (0, width - array.shape[1])))


def prove(files: Mapping[str, Path], served: Served) -> dict[str, Any]:
    step = replace(TOKENIZER, examples=lambda _, count: as_input(TEXTS[:count]))
    return verify_python_model(step, served, files, len(TEXTS))


def test_batches_of_differing_width_are_equal_up_to_padding(files: dict[str, Path]) -> None:
    """Zeros of the joining and the tokenizer's padding both mean: nothing more."""
    assert prove(files, Served(files))["equal"] == ["input_ids", "attention_mask", "token_count"]


@pytest.mark.parametrize("name", ["input_ids", "attention_mask"])
def test_a_wrong_token_is_told(files: dict[str, Path], name: str) -> None:
    """With the output and the item."""
    with pytest.raises(VerificationFailed, match=rf"output '{name}' differs from its reference for 1 of 8 .* item 3"):
        prove(files, Served(files, wrong=name))


def test_another_padding_than_the_tokenizers_is_told(files: dict[str, Path]) -> None:
    """Zeros in its place are no joining where an item is alone."""
    with pytest.raises(VerificationFailed, match=r"item 0 alone: it ends in .* 0\], expected .* 1\] \(.* up with 1\)"):
        prove(files, Served(files, padding=0))
