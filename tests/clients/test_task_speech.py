"""What the speech tasks send: checked before anything goes over the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard_client.errors import InvalidInput
from modelyard_client.tasks.speech_recogniser import checked_request
from modelyard_client.tasks.voice_activity import Chunks


def test_a_file_goes_as_it_is(tmp_path: Path) -> None:
    """Its bytes, without a rate; wishes only where there are any."""
    path = tmp_path / "sound.wav"
    path.write_bytes(b"RIFF")
    found = checked_request(path, "", None)
    assert found.keys() == {"audio"}
    assert found["audio"].tolist() == [[b"RIFF"]]
    wishes = checked_request(b"RIFF", "en", 5)
    assert wishes["language"].tolist() == [[b"en"]]
    assert wishes["beam_size"].tolist() == [[5]]


def test_samples_go_as_16_bits() -> None:
    """Floats are scaled, whole numbers are not."""
    found = checked_request((np.array([0, 0.5, -1], np.float64), 44_100), "", None)
    assert found["sample_rate"].tolist() == [[44_100]]
    assert np.frombuffer(found["audio"][0, 0], "<i2").tolist() == [0, 16383, -32767]
    same = checked_request((np.array([1, -2], np.int16), 16_000), "", None)
    assert np.frombuffer(same["audio"][0, 0], "<i2").tolist() == [1, -2]


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        ("sound.wav", r"audio is a str; .*pathlib\.Path\(\.\.\.\)"),
        (b"", "audio is empty"),
        (Path("nowhere.wav"), "nowhere.wav cannot be read: No such file"),
        ((np.zeros((2, 3)), 16_000), r"shape \[2, 3\]"),
        ((np.zeros(0), 16_000), "not empty"),
        ((np.full(3, 2.0), 16_000), "floats from -1 to 1"),
        ((np.full(3, np.nan), 16_000), "floats from -1 to 1"),
        ((np.zeros(3, np.int32), 16_000), "audio is int32"),
    ],
)
def test_what_is_no_sound_is_not_sent(audio: Any, words: str) -> None:
    """It says what it is and what was expected."""
    with pytest.raises(InvalidInput, match=words):
        checked_request(audio, "", None)


def test_blocks_become_whole_chunks() -> None:
    """None of the sound is lost, none comes twice; the last chunk is filled up."""
    sound = np.arange(-600, 600, dtype=np.int16)
    chunks = Chunks()
    parts = [chunks.add(sound[at : at + 100]) for at in range(0, 1200, 100)]
    found = np.concatenate([*parts, chunks.last()])
    assert len(found) == 3 * 512
    np.testing.assert_allclose(found[:1200] * 32768, sound)
    assert not found[1200:].any()
    with pytest.raises(InvalidInput, match="mono at 16 kHz"):
        chunks.add(np.zeros((2, 2)))
