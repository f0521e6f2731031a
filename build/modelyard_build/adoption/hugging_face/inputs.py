"""What goes into a model of the transformers library: read off its forward, its config and its preprocessor's.

Every kind of input is one function here and one line in `_KINDS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from modelyard_build.adoption.origin import Draw, Limit
from modelyard_build.model import Array

BATCH = 3
# Attention costs the square of it; a model that reads more is declared by hand for more.
LONGEST_SEQUENCE = 512
LONGEST_AUDIO_S = 10
DEFAULT_SAMPLING_RATE = 16_000
DEFAULT_IMAGE_SIZE = 224
# What engines are tuned for: most texts are shorter than the longest.
_USUAL_SEQUENCE = 128
_FEWEST_FRAMES, _USUAL_FRAMES = 5, 20
Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Hints:
    """What the files beside config.json say; empty where there are none.

    Attributes:
        preprocessor: preprocessor_config.json.
        tokenizer: tokenizer_config.json.
        max_seq_length: of sentence_bert_config.json; 0 where it says none.
    """

    preprocessor: Json = field(default_factory=dict)
    tokenizer: Json = field(default_factory=dict)
    max_seq_length: int = 0


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        name: of forward's parameter.
        example: a batch of `BATCH` items.
        limits: of its dimensions; one that is fixed has the same smallest and largest size.
        draw: how it is drawn at other sizes; None: around the example.
    """

    name: str
    example: Array
    limits: Mapping[int, Limit]
    draw: Draw | None = None


def inputs_of(model: PreTrainedModel, hints: Hints) -> list[Input]:
    """Every input that a model has to be given, with an example; none where they cannot be told."""
    taken = inspect.signature(model.forward).parameters
    found = [kind(model, hints) for name, kind in _KINDS.items() if name in taken]
    return [one for one in found if one is not None]


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def _setting(config: PretrainedConfig, *names: str, part: str = "") -> Any:
    """The first of some settings that a config, or a part of it, has."""
    places = [config, getattr(config, part, None)] if part else [config]
    return next((value for place in places for name in names if (value := getattr(place, name, None))), None)


def longest_sequence(model: PreTrainedModel, hints: Hints) -> int:
    """The most tokens that a model is to be served: what it has positions for, and what is sensible."""
    config = model.config.get_text_config()
    known = [LONGEST_SEQUENCE, _setting(config, "max_position_embeddings", "n_positions"), hints.max_seq_length]
    known += [_rows_of_positions(model), hints.tokenizer.get("model_max_length")]
    return int(min(size for size in known if size))


def _rows_of_positions(model: nn.Module) -> int:
    """Of a table of positions that begins after its padding row, the rows that tokens get; 0 without such a table."""
    tables = [
        inner
        for name, inner in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(inner, nn.Embedding)
    ]
    return min((len(table.weight) - table.padding_idx - 1 for table in tables if table.padding_idx), default=0)


def _tokens(name: str, axis: str, vocabulary: int, longest: int) -> Input:
    size = max(2, min(_USUAL_SEQUENCE, longest // 2))
    example = _random().integers(0, vocabulary, (BATCH, size), dtype=np.int64)
    return Input(name, example, {1: Limit(axis, 1, longest)}, Draw(0, vocabulary))


def _input_ids(model: PreTrainedModel, hints: Hints) -> Input | None:
    if model.main_input_name != "input_ids":
        return None
    vocabulary = int(model.config.get_text_config().vocab_size)
    return _tokens("input_ids", "sequence", vocabulary, longest_sequence(model, hints))


def _attention_mask(model: PreTrainedModel, hints: Hints) -> Input | None:
    """Every text has one; audio where the model was trained with it, which its preprocessor says."""
    like = _input_ids(model, hints)
    if like is None and hints.preprocessor.get("return_attention_mask"):
        like = _input_values(model, hints)
    if like is None or 1 not in like.limits:
        return None
    example = np.ones(like.example.shape[:2], np.int64)
    example[1, max(1, example.shape[1] * 2 // 3) :] = 0
    return Input("attention_mask", example, {1: like.limits[1]}, Draw(ones=True))


def _token_type_ids(model: PreTrainedModel, hints: Hints) -> Input | None:
    """Which of two texts a token is of, where the model tells them apart."""
    kinds, like = _setting(model.config, "type_vocab_size") or 0, _input_ids(model, hints)
    if kinds < 2 or like is None:
        return None
    example = _random().integers(0, kinds, like.example.shape, dtype=np.int64)
    return Input("token_type_ids", example, like.limits, Draw(0, kinds))


def _decoder_input_ids(model: PreTrainedModel, hints: Hints) -> Input | None:
    if not model.config.is_encoder_decoder:
        return None
    config = model.config
    longest = min(LONGEST_SEQUENCE, _setting(config, "max_target_positions") or longest_sequence(model, hints))
    vocabulary = _setting(config, "decoder_vocab_size", "vocab_size")
    return _tokens("decoder_input_ids", "decoder_sequence", int(vocabulary), int(longest))


def _floats(name: str, dims: tuple[int, ...], limits: Mapping[int, Limit]) -> Input:
    return Input(name, _random().standard_normal((BATCH, *dims), dtype=np.float32), limits)


def _fixed(*dims: tuple[str, int]) -> dict[int, Limit]:
    return {at: Limit(name, size, size) for at, (name, size) in enumerate(dims, 1)}


def _pixel_values(model: PreTrainedModel, hints: Hints) -> Input | None:
    """Images have one size: a preprocessor brings them to it."""
    if model.main_input_name != "pixel_values" and not hasattr(model, "get_image_features"):
        return None
    channels = int(_setting(model.config, "num_channels", "in_chans", part="vision_config") or 3)
    height, width = _image_size(model, hints.preprocessor)
    limits = _fixed(("channels", channels), ("height", height), ("width", width))
    return _floats("pixel_values", (channels, height, width), limits)


def _image_size(model: PreTrainedModel, preprocessor: Json) -> tuple[int, int]:
    """A model with a position for each patch says its size itself; the size of others is the preprocessor's."""
    own = _setting(model.config, "image_size", part="vision_config")
    told = preprocessor.get("crop_size") or preprocessor.get("size")
    positions = any("position_embedding" in name for name, _ in model.named_parameters())
    return _height_and_width((own if positions else None) or told or own or DEFAULT_IMAGE_SIZE)


def _height_and_width(size: Any) -> tuple[int, int]:
    """A size as configs write it: a number, two of them, or an object."""
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge") or DEFAULT_IMAGE_SIZE
        return int(size.get("height") or edge), int(size.get("width") or edge)
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (int(size), int(size))


def _input_values(model: PreTrainedModel, hints: Hints) -> Input | None:
    """A spectrogram of one size, where the config has one; otherwise sound of any length."""
    if model.main_input_name != "input_values":
        return None
    if bins := _setting(model.config, "num_mel_bins"):
        frames = int(model.config.max_length)
        return _floats("input_values", (frames, bins), _fixed(("frames", frames), ("mel", bins)))
    rate = int(hints.preprocessor.get("sampling_rate") or DEFAULT_SAMPLING_RATE)
    shortest, usual = _samples(model.config, _FEWEST_FRAMES), max(rate, _samples(model.config, _USUAL_FRAMES))
    return _floats("input_values", (usual,), {1: Limit("samples", shortest, max(LONGEST_AUDIO_S * rate, 2 * usual))})


def _samples(config: PretrainedConfig, frames: int) -> int:
    """How many samples a stack of convolutions needs for so many frames."""
    layers = zip(_setting(config, "conv_kernel") or (), _setting(config, "conv_stride") or (), strict=True)
    for kernel, stride in reversed(list(layers)):
        frames = (frames - 1) * stride + kernel
    return frames


def _input_features(model: PreTrainedModel, hints: Hints) -> Input | None:
    """A spectrogram: Whisper's has a size of its own, others are of any length."""
    if model.main_input_name != "input_features":
        return None
    bins, positions = _setting(model.config, "num_mel_bins"), _setting(model.config, "max_source_positions")
    if bins and positions:
        # Whisper's second convolution halves the frames.
        return _floats("input_features", (bins, 2 * positions), _fixed(("mel", bins), ("frames", 2 * positions)))
    width = _setting(model.config, "feature_projection_input_dim", "input_feat_per_channel") or bins
    if not width:
        return None
    limits = {1: Limit("frames", _FEWEST_FRAMES, 100 * LONGEST_AUDIO_S), 2: Limit("features", width, width)}
    return _floats("input_features", (_USUAL_FRAMES, width), limits)


# By the names of forward's parameters, in the order in which inputs are declared.
_KINDS: Mapping[str, Callable[[PreTrainedModel, Hints], Input | None]] = {
    "input_ids": _input_ids,
    "attention_mask": _attention_mask,
    "token_type_ids": _token_type_ids,
    "decoder_input_ids": _decoder_input_ids,
    "pixel_values": _pixel_values,
    "input_values": _input_values,
    "input_features": _input_features,
}
