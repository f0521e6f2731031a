"""`speech` in small: its own code and the real voice activity, on a Whisper of random weights that writes bytes.

The two clips are of Debian's pocketsphinx-testdata: a sentence of LibriVox (public domain) and a card (BSD-2-Clause).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from modelyard_build.assets import Asset, LocalAsset
from modelyard_build.datasets import spoken_clips, spoken_inputs
from modelyard_build.model import AnyModel, Array, Arrays, Model, PythonModel, Tensor
from modelyard_build.models import speech

FOLDER = Path(__file__).parent / "speech"
SENTENCE, CARD = FOLDER / "austen.wav", FOLDER / "card.wav"
WIDTH, INNER, LAYERS, POSITIONS = 64, 96, 1, 20
SPECIAL = ("endoftext", "startoftranscript", "en", "de", "transcribe", "nocaptions", "notimestamps")
LANGUAGES = ("en", "de")
TIMESTAMPS = 1501
EVALUATED = 3


def write_small_whisper(folder: Path) -> dict[str, Path]:
    """Writes weights in two parts, `config` and `tokenizer` into a folder."""
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(sorted(_letters()))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>") for name in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    numbers = {name: tokenizer.token_to_id(f"<|{name}|>") for name in SPECIAL}
    settings = {
        # As upstream: the specials are never written, but for the end.
        "suppress_ids": [number for name, number in numbers.items() if name != "endoftext"],
        "lang_ids": [numbers[name] for name in LANGUAGES],
    }
    (folder / "config.json").write_text(json.dumps(settings))
    content = model_bin(dict(_variables(tokenizer.get_vocab_size() + TIMESTAMPS)))
    half = len(content) // 2
    (folder / "part1").write_bytes(content[:half])
    (folder / "part2").write_bytes(content[half:])
    return {
        "weights 1": folder / "part1",
        "weights 2": folder / "part2",
        "config": folder / "config.json",
        "tokenizer": folder / "tokenizer.json",
    }


def _letters() -> list[str]:
    return list(pre_tokenizers.ByteLevel.alphabet())


def _variables(vocabulary: int) -> Iterator[tuple[str, Array]]:
    """CTranslate2's, by their names."""
    generator = np.random.default_rng(11)

    def values(*shape: int, scale: float = 0.2) -> Array:
        return generator.normal(0, scale, shape).astype(np.float16)

    def linear(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, Array]]:
        yield f"{name}/weight", values(outputs, inputs)
        yield f"{name}/bias", values(outputs)

    def norm(name: str) -> Iterator[tuple[str, Array]]:
        yield f"{name}/gamma", (1 + values(WIDTH)).astype(np.float16)
        yield f"{name}/beta", values(WIDTH)

    yield "decoder/embeddings/weight", values(vocabulary, WIDTH, scale=0.5)
    yield "decoder/position_encodings/encodings", values(POSITIONS, WIDTH)
    yield "encoder/position_encodings/encodings", values(speech.FRAMES, WIDTH)
    for number, inputs in ((1, speech.BANDS), (2, WIDTH)):
        yield f"encoder/conv{number}/weight", values(WIDTH, inputs, 3, scale=0.1)
        yield f"encoder/conv{number}/bias", values(WIDTH)
    for half in ("encoder", "decoder"):
        yield from norm(f"{half}/layer_norm")
        for layer in range(LAYERS):
            place = f"{half}/layer_{layer}"
            yield from norm(f"{place}/self_attention/layer_norm")
            yield from norm(f"{place}/ffn/layer_norm")
            yield from linear(f"{place}/self_attention/linear_0", 3 * WIDTH, WIDTH)
            yield from linear(f"{place}/self_attention/linear_1", WIDTH, WIDTH)
            yield from linear(f"{place}/ffn/linear_0", INNER, WIDTH)
            yield from linear(f"{place}/ffn/linear_1", WIDTH, INNER)
        for layer in range(LAYERS if half == "decoder" else 0):
            place = f"decoder/layer_{layer}/attention"
            yield from norm(f"{place}/layer_norm")
            yield from linear(f"{place}/linear_0", WIDTH, WIDTH)
            yield from linear(f"{place}/linear_1", 2 * WIDTH, WIDTH)
            yield from linear(f"{place}/linear_2", WIDTH, WIDTH)


def model_bin(variables: dict[str, Array], spec: str = "WhisperSpec", version: int = 6) -> bytes:
    """A model.bin of CTranslate2 with float16 variables."""

    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    content = struct.pack("<I", version) + string(spec) + struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        sizes = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        content += string(name) + sizes + struct.pack("<BI", 4, array.nbytes) + array.tobytes()
    alias = string("decoder/projection/weight") + string("decoder/embeddings/weight")
    return content + struct.pack("<I", 1) + alias


def declare(folder: Path) -> tuple[AnyModel, ...]:
    """The system's own declarations with these weights, and the two clips in the place of the fetched ones."""
    own: dict[str, Asset] = {name: LocalAsset(path) for name, path in write_small_whisper(folder).items()}
    clips: dict[str, Asset] = {
        name: LocalAsset(CARD if number % 2 else SENTENCE) for number, name in enumerate(spoken_clips.ASSETS)
    }
    vad, encoder, decoder, whole = speech.MODELS
    assert isinstance(encoder, Model)
    assert isinstance(decoder, PythonModel)
    states = Tensor("states", "FP32", (speech.FRAMES, WIDTH))
    return (
        replace(vad, assets={**vad.assets, **clips}, verified_items=20),
        replace(encoder, assets={**encoder.assets, **own, **clips}, outputs=(states,)),
        replace(
            decoder,
            assets={**decoder.assets, **own, **clips},
            inputs=(states, *decoder.inputs[1:]),
            files={**decoder.files, "tokenizer.json": own["tokenizer"]},
            # What random weights write is never to be believed.
            parameters={**decoder.parameters, "temperatures": "0"},
            verified_items=4,
        ),
        replace(
            whole,
            assets={**whole.assets, **own, **clips},
            verified_items=2,
            evaluation=replace(whole.evaluation, data=_some) if whole.evaluation else None,
        ),
    )


def _some(files: Mapping[str, Path]) -> tuple[Arrays, Array]:
    """The first clips of the evaluation."""
    inputs, truth = spoken_inputs.evaluation_data(files)
    return {name: array[:EVALUATED] for name, array in inputs.items()}, truth[:EVALUATED]
