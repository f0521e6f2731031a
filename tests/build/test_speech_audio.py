"""What the speech step hears: WAV files of every kind, the pauses, the spectrogram."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest

from modelyard_build.model import Array
from modelyard_build.steps.speech import audio, mel
from modelyard_build.steps.speech.windows import Limits, Windows
from support.small_speech import SENTENCE
from support.sounds import encoded, wav_of


def tone(rate: int, seconds: float = 1.0) -> Array:
    """440 Hz, half of full scale: float64 [samples]."""
    samples: Array = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)
    return samples


def heard(content: bytes) -> Array:
    """As the models hear it."""
    return np.concatenate(list(audio.wav(content).blocks()))


@pytest.mark.parametrize(("bits", "kind"), [(8, 1), (16, 1), (24, 1), (32, 1), (32, 3), (64, 3)])
def test_every_width_is_the_same_sound(bits: int, kind: int) -> None:
    """Within what the width itself leaves out; stereo is mixed to the mean."""
    samples = tone(16_000)
    stereo = np.stack([samples, np.zeros_like(samples)], 1).reshape(-1)
    content = wav_of(encoded(stereo, bits, kind), 16_000, 2, bits, kind)
    np.testing.assert_allclose(heard(content), samples / 2, atol=2.0 ** (1 - min(bits, 24)))


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_every_rate_is_the_same_sound(rate: int) -> None:
    """Resampled block by block, with no seam at a block's end."""
    samples = tone(rate, 21)
    found = heard(wav_of(encoded(samples, 16, audio.PCM), rate, 1, 16))
    assert abs(len(found) - 21 * 16_000) <= 1
    middle = slice(1000, 20 * 16_000)
    np.testing.assert_allclose(found[middle], tone(16_000, 21)[middle], atol=2e-3)


def test_the_extensible_form_and_an_unknown_length() -> None:
    """As programs write that stream: the format's number stands further behind, and the length is not known."""
    extra = struct.pack("<HHIH", 22, 16, 4, audio.PCM) + b"\0" * 14
    content = wav_of(encoded(tone(16_000), 16, audio.PCM), 16_000, 1, 16, audio.EXTENSIBLE, extra)
    at = content.index(b"data") + 4
    content = content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :]
    np.testing.assert_allclose(heard(content), tone(16_000), atol=1e-4)


def test_samples_without_a_header() -> None:
    """They are as long as their rate says."""
    found = audio.raw(encoded(tone(8_000), 16, audio.PCM), 8_000)
    assert found.seconds == 1
    assert len(np.concatenate(list(found.blocks()))) == 16_000


GOOD = wav_of(encoded(tone(16_000), 16, audio.PCM), 16_000, 1, 16)
BAD = {
    "empty": (b"", "no WAV file"),
    "text": (b"hello, world", "no WAV file: it has 12 bytes and begins with b'hello, w'"),
    "MP3": (b"ID3\x04" + b"\0" * 100, "is an MP3 file"),
    "FLAC": (b"fLaC" + b"\0" * 100, "is a FLAC file"),
    "cut off": (GOOD[:-100], "is cut off: its header promises 32000 bytes of sound, 31900 are there"),
    "header alone": (GOOD[:30], "without sound"),
    "A-law": (wav_of(b"\0" * 100, 8_000, 1, 8, 6), "format 6 with 8 bits"),
    "12 bits": (wav_of(b"\0" * 96, 16_000, 1, 12), "format 1 with 12 bits"),
    "4 kHz": (wav_of(b"\0" * 100, 4_000, 1, 16), "sample rate of 4000 Hz, expected 8000 to 192000"),
    "9 channels": (wav_of(b"\0" * 180, 16_000, 9, 16), "9 channels, expected 1 to 8"),
    "no channel": (wav_of(b"\0" * 180, 16_000, 0, 16), "0 channels"),
    "NaN": (wav_of(struct.pack("<3f", 0, np.nan, 0), 16_000, 1, 32, 3), "NaN or infinity, first at 0.000 s"),
    "infinity": (wav_of(struct.pack("<2f", 0, np.inf) * 8_000, 8_000, 1, 32, 3), "NaN or infinity"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_words(name: str) -> None:
    """What it is, what was expected, what to do."""
    content, words = BAD[name]
    with pytest.raises(audio.InvalidAudio, match=words.replace("(", r"\(")):
        heard(content)


def test_half_a_sample_is_refused() -> None:
    """An odd number of bytes is no 16-bit sound, most probably a file."""
    with pytest.raises(audio.InvalidAudio, match="odd number"):
        audio.raw(b"abc", 16_000)


def test_the_spectrogram_is_transformers() -> None:
    """Of speech, of silence, and of 30 s without an end."""
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor()
    speech = heard(SENTENCE.read_bytes())
    for samples in (speech, np.zeros(1, np.float32), np.tile(speech, 10)[: 30 * 16_000]):
        expected = extractor(samples, sampling_rate=16_000, return_tensors="np").input_features[0]
        np.testing.assert_allclose(mel.log_mel(samples), expected, atol=2e-4)


LIMITS = Limits(speech=0.5, silence=0.35, least_silence=3, least_speech=4, padding=2, longest=40)


def cut(probabilities: list[float], at_once: int = 1000) -> list[tuple[int, int]]:
    """The windows, with so many chunks in each call."""
    windows = Windows(LIMITS)
    found: list[tuple[int, int]] = []
    for start in range(0, len(probabilities), at_once):
        found += windows.feed(probabilities[start : start + at_once])
    return [*found, *windows.finish()]


def test_silence_has_no_window() -> None:
    """Nor has a click."""
    assert cut([0.1] * 500) == []
    assert cut([0.1] * 20 + [0.9] * 3 + [0.1] * 20) == []


def test_a_window_has_a_little_of_the_pauses_around_it() -> None:
    """And nothing of what is before the start or behind the end."""
    assert cut([0.1] * 10 + [0.9] * 10 + [0.1] * 10) == [(8, 22)]
    assert cut([0.9] * 10) == [(0, 10)]


def test_neighbours_share_a_window() -> None:
    """For as long as it holds them; the next begins in the pause."""
    talk = ([0.9] * 10 + [0.1] * 5) * 4
    assert cut(talk) == [(0, 27), (28, 57)]


def test_a_dip_is_no_pause() -> None:
    """Between the thresholds, and below them for less than the shortest pause."""
    assert cut([0.9] * 6 + [0.4] * 8 + [0.9] * 6 + [0.1] * 9) == [(0, 22)]
    assert cut([0.9] * 6 + [0.1] * 2 + [0.9] * 6 + [0.1] * 9) == [(0, 16)]


def test_speech_without_a_pause_is_cut_where_it_is_weakest() -> None:
    """In the second half of what a window holds; nothing is lost, nothing is heard twice."""
    endless = [0.9] * 100
    endless[30] = 0.6
    found = cut(endless)
    assert found[0] == (0, 32)
    assert all(end - start <= LIMITS.longest for start, end in found)
    assert [start for start, _ in found[1:]] == [end for _, end in found[:-1]]
    assert found[-1][1] == 100


def test_blocks_change_nothing() -> None:
    """The same windows, however the sound comes in; a window comes as soon as no more fits into it."""
    generator = np.random.default_rng(3)
    talk = [float(p) for p in np.repeat(generator.uniform(0, 1, 100), generator.integers(1, 12, 100))]
    assert cut(talk, 1) == cut(talk, 7) == cut(talk)
    windows = Windows(LIMITS)
    assert list(windows.feed([0.9] * 10 + [0.1] * 40)) == [(0, 12)]


def test_what_may_be_forgotten() -> None:
    """All but what a window to come may begin with."""
    windows = Windows(LIMITS)
    list(windows.feed([0.1] * 100))
    assert windows.needed_from() == 98
    list(windows.feed([0.9] * 10))
    assert windows.needed_from() == 98


def test_python_writes_the_same_header() -> None:
    """The standard library's files are read."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        writer.writeframes(encoded(tone(16_000), 16, audio.PCM))
    np.testing.assert_allclose(heard(file.getvalue()), tone(16_000), atol=1e-4)
