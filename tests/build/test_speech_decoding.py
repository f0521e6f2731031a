"""The speech step's rules and searches: against transformers, with logits out of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, WhisperTimeStampLogitsProcessor

from modelyard_build.errors import AssetUnavailable
from modelyard_build.model import Array
from modelyard_build.nets import ctranslate2_file, whisper, whisper_reference
from modelyard_build.steps.speech.rules import Tokens, allowed, compression_ratio, read
from modelyard_build.steps.speech.search import Beam, Greedy, Search
from modelyard_build.word_errors import distance, word_error_rate
from support.small_speech import model_bin, write_small_whisper

# Words 0 to 9, the end, five more, timestamps from 16 on.
TOKENS = Tokens(
    start=11,
    end=10,
    transcribe=13,
    no_timestamps=15,
    no_speech=14,
    timestamps=16,
    suppressed=(9, 11, 12, 13, 14),
    languages={"en": 12},
    positions=100,
)
VOCABULARY = 16 + 1501


def test_timestamps_follow_transformers_rules() -> None:
    """After every kind of beginning the same tokens are allowed."""
    generator = np.random.default_rng(1)
    settings = GenerationConfig(
        no_timestamps_token_id=15, eos_token_id=10, bos_token_id=10, max_initial_timestamp_index=50
    )
    processor = WhisperTimeStampLogitsProcessor(settings, begin_index=3)
    beginnings = [
        [],
        [16],
        [16, 1],
        [16, 1, 2],
        [16, 1, 20],
        [16, 1, 20, 20],
        [16, 1, 20, 22, 3],
        [16, 1, 20, 22, 3, 30],
    ]
    for written in beginnings * 5:
        logits = generator.normal(0, 3, VOCABULARY).astype(np.float32)
        masked = logits.copy()
        masked[list(TOKENS.suppressed)] = -np.inf
        expected = processor(torch.tensor([[11, 12, 13, *written]]), torch.from_numpy(masked)[None])[0].numpy()
        np.testing.assert_array_equal(allowed(logits, written, TOKENS), expected)


def test_a_text_that_repeats_itself_compresses() -> None:
    """As Whisper's loops do."""
    assert compression_ratio("He might even have been made amiable himself.") < 1.2
    assert compression_ratio("again and " * 30) > 2.4


@pytest.mark.parametrize(
    ("written", "segments", "until"),
    [
        ([16, 1, 2, 66], [(0.0, 1.0, [1, 2])], 3.0),
        ([16, 1, 66, 66, 2, 116], [(0.0, 1.0, [1]), (1.0, 2.0, [2])], 3.0),
        ([16, 1, 66, 66, 2], [(0.0, 1.0, [1])], 1.0),
        ([16, 1, 66, 91, 2, 116, 116], [(0.0, 1.0, [1]), (1.5, 2.0, [2])], 2.0),
        ([16, 1, 2], [(0.0, 3.0, [1, 2])], 3.0),
        ([16, 1, 1000], [(0.0, 3.0, [1])], 3.0),
        ([], [], 3.0),
    ],
    ids=["one", "two", "broken off", "ends between two", "never closed", "beyond the end", "nothing"],
)
def test_tokens_become_segments(
    written: list[int], segments: list[tuple[float, float, list[int]]], until: float
) -> None:
    """Of three seconds of sound; what is broken off behind a segment is heard again from there."""
    found = read(written, TOKENS, 3.0)
    assert found.segments == segments
    assert found.until == until


def run(search: Search, table: Array) -> list[int]:
    """Searches with logits that depend on the last token alone: float32 [vocabulary, vocabulary]."""
    last = np.array([TOKENS.transcribe] * search.width)
    while not search.done():
        last, _ = search.advance(table[last])
    return search.best().tokens


def test_lots_are_the_same_each_time() -> None:
    """The same logits give the same tokens at a temperature, and others than without."""
    table = np.random.default_rng(2).normal(0, 1, (VOCABULARY, VOCABULARY)).astype(np.float32)
    drawn = [run(Greedy(TOKENS, 12, 1.0), table) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != run(Greedy(TOKENS, 12), table)


def test_a_beam_of_one_is_greedy() -> None:
    """And neither writes more than it may."""
    table = np.random.default_rng(4).normal(0, 2, (VOCABULARY, VOCABULARY)).astype(np.float32)
    assert run(Beam(TOKENS, 12, 1), table) == run(Greedy(TOKENS, 12), table)
    assert len(run(Beam(TOKENS, 5, 4), table)) <= 5


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """A Whisper of random weights."""
    return whisper.load_state(write_small_whisper(tmp_path_factory.mktemp("whisper")))


def test_the_own_encoder_is_transformers(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """By the same names, with the same states."""
    files = write_small_whisper(tmp_path)
    special = whisper_reference.read_special(files["tokenizer"], files["config"], 20)
    model = whisper_reference.load(state, special, 224)
    log_mel = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        np.testing.assert_allclose(
            whisper.encoder_of(state)(log_mel).numpy(), model.model.encoder(log_mel)[0].numpy(), atol=1e-4
        )


def test_other_files_are_no_weights(tmp_path: Path) -> None:
    """Another specification, another version, a file that ends too early, none at all."""
    whole = model_bin({"decoder/x": np.zeros((2, 3), np.float16)})
    contents = {
        "expected WhisperSpec in version 6": model_bin({}, spec="TransformerSpec"),
        "holds WhisperSpec in version 5": model_bin({}, version=5),
        "within a variable": whole[:60],
        "is no model.bin": b"PK\x03\x04",
    }
    for words, content in contents.items():
        (tmp_path / "model.bin").write_bytes(content)
        with pytest.raises(AssetUnavailable, match=words):
            ctranslate2_file.read([tmp_path / "model.bin"], "WhisperSpec")


def test_word_errors() -> None:
    """After normalisation; changed, missing and additional words count."""
    assert word_error_rate(["Mr. Bennet, it's 10 o'clock!"], ["mister bennet it is ten o'clock"]) == 0
    assert word_error_rate(["a b", "c"], ["a x", "c d"]) == pytest.approx(2 / 4)
    assert distance([], ["a", "b"]) == distance(["a", "b"], []) == 2
