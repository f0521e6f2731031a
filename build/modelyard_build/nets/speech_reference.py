"""What PyTorch and transformers make of the inputs of `speech`, with the same weights.

The same window with the same wishes is asked for by samples, proof and evaluation alike: its answer is kept, since
transformers takes seconds for it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from modelyard_build.datasets.spoken_inputs import samples_of
from modelyard_build.model import Array, Arrays
from modelyard_build.nets import silero_vad, whisper, whisper_reference
from modelyard_build.nets.silero_vad import CHUNK, SAMPLE_RATE
from modelyard_build.nets.whisper_assets import DECODER_ASSETS
from modelyard_build.rounding import joined_rows
from modelyard_build.steps.speech import rules, windows

# A shorter rest of a window, in seconds, is not heard again.
LEAST_REST = 1.0


def voice_activity(files: Mapping[str, Path], audio: Array, *, double: bool = False) -> Array:
    """The probabilities of speech in the requests of one sequence.

    Args:
        files: the graph's.
        audio: float32 [requests, chunks * 512].
        double: computes in float64.

    Returns:
        [requests, chunks].
    """
    net, samples = silero_vad.load_silero_vad(files), torch.from_numpy(audio.reshape(-1))
    found = silero_vad.probabilities(net.double() if double else net, samples.double() if double else samples)
    probabilities: Array = found.numpy().reshape(len(audio), -1)
    return probabilities


def decoded(files: Mapping[str, Path], inputs: Arrays, max_tokens: int) -> Arrays:
    """What transformers writes for windows: the outputs of `speech_decoder`, [windows, …].

    Args:
        files: the weights and the vocabulary.
        inputs: of `speech_decoder`.
        max_tokens: of a window.
    """
    model = _Files.of(files, max_tokens)
    found = [
        _segments(
            model,
            states.tobytes(),
            bytes(_wish(inputs, "language", place) or b""),
            int(_wish(inputs, "beam_size", place) or 1),
            float(inputs["seconds"][place, 0]),
        )
        for place, states in enumerate(inputs["states"])
    ]
    return {name: joined_rows([each[name] for each in found]) for name in found[0]}


def transcribed(files: Mapping[str, Path], inputs: Arrays, max_tokens: int, limits: windows.Limits) -> Arrays:
    """What PyTorch and transformers say of each sound: the outputs of `speech`, [items, segments, 1].

    Args:
        files: as for `decoded`, and the voice activity's graph.
        inputs: of `speech`: WAV files.
        max_tokens: of a window.
        limits: where the sound is cut.
    """
    model = _Files.of(files, max_tokens)
    found = [
        _transcript(model, files["silero graph"], limits, content, bytes(_wish(inputs, "language", place) or b""))
        for place, (content,) in enumerate(inputs["audio"])
    ]
    return {name: joined_rows([each[name] for each in found]) for name in found[0]}


def _wish(inputs: Arrays, name: str, place: int) -> Any:
    return inputs[name][place, 0] if name in inputs else None


@dataclass(frozen=True)
class _Files:
    """Where a model of transformers' comes from; what it says is kept by it.

    Attributes:
        paths: of the weights and the vocabulary.
        max_tokens: of a window.
    """

    paths: tuple[Path, ...]
    max_tokens: int

    @classmethod
    def of(cls, files: Mapping[str, Path], max_tokens: int) -> _Files:
        """Of all the files those that count."""
        return cls(tuple(files[name] for name in DECODER_ASSETS), max_tokens)


@functools.cache
def _loaded(model: _Files) -> tuple[Any, Tokenizer, dict[str, Any]]:
    """The model, the tokenizer and the vocabulary's special numbers."""
    files = dict(zip(DECODER_ASSETS, model.paths, strict=True))
    state = whisper.load_state(files)
    positions = len(state["decoder.embed_positions.weight"])
    special = whisper_reference.read_special(files["tokenizer"], files["config"], positions)
    return (
        whisper_reference.load(state, special, model.max_tokens),
        Tokenizer.from_file(str(files["tokenizer"])),
        special,
    )


@functools.cache
def _segments(model: _Files, states: bytes, language: bytes, beams: int, seconds: float) -> Arrays:
    """The decoder's outputs for one window, [1, …]."""
    whole, tokenizer, special = _loaded(model)
    tensor = torch.frombuffer(bytearray(states), dtype=torch.float32).reshape(-1, whole.config.d_model)
    code = language.decode() or whisper_reference.language_of(whole, tensor)
    tokens = whisper_reference.written(whole, tensor, code, beams)
    found = rules.read(tokens, rules.Tokens(**special), seconds)
    texts = [tokenizer.decode(words, skip_special_tokens=True).strip().encode() for _, _, words in found.segments]
    return {
        "start": np.array([[start for start, _, _ in found.segments]], np.float32),
        "end": np.array([[end for _, end, _ in found.segments]], np.float32),
        "text": np.array(texts, np.object_).reshape(1, -1),
        "until": np.array([[found.until]], np.float32),
        "language": np.array([[code.encode()]], np.object_),
    }


@functools.cache
def _transcript(model: _Files, graph: Path, limits: windows.Limits, content: bytes, language: bytes) -> Arrays:
    """The outputs of `speech` for one sound, [1, segments, 1]."""
    samples = samples_of(content)
    found = [
        (first / SAMPLE_RATE + start, first / SAMPLE_RATE + end, text, code)
        for first, behind in _windows(graph, limits, samples)
        for start, end, text, code in _heard(model, samples[first:behind], language)
    ]
    dtypes = {"start": np.float32, "end": np.float32, "text": np.object_, "language": np.object_}
    return {
        name: np.array([segment[place] for segment in found], dtype).reshape(1, -1, 1)
        for place, (name, dtype) in enumerate(dtypes.items())
    }


def _windows(graph: Path, limits: windows.Limits, samples: Array) -> list[tuple[int, int]]:
    """First sample, and the one behind the last, of each window with speech."""
    filled = np.pad(samples, (0, -len(samples) % CHUNK))
    cutter = windows.Windows(limits)
    found = cutter.feed(voice_activity({"silero graph": graph}, filled[None])[0].tolist())
    return [(start * CHUNK, end * CHUNK) for start, end in (*found, *cutter.finish())]


def _heard(model: _Files, samples: Array, language: bytes) -> Iterator[tuple[float, float, bytes, bytes]]:
    """The segments of one window; where the decoder broke off within it, of the rest of it as well."""
    start, duration = 0.0, len(samples) / SAMPLE_RATE
    while True:
        rest = samples[round(start * SAMPLE_RATE) :]
        states = whisper_reference.encoded(_loaded(model)[0], rest).numpy()
        found = _segments(model, states.tobytes(), language, 1, len(rest) / SAMPLE_RATE)
        for first, last, text in zip(*(found[name][0] for name in ("start", "end", "text")), strict=True):
            yield start + float(first), start + float(last), text, found["language"][0, 0]
        until = float(found["until"][0, 0])
        start += until
        if until < LEAST_REST or duration - start < LEAST_REST:
            return
