"""Whisper (Radford et al., 2022, arXiv:2212.04356): the encoder, and the decoder with its keys and values handed in.

Everything is named as in transformers' `WhisperForConditionalGeneration`, so that one state serves both. The decoder is
written for a loop that keeps the keys and values of earlier tokens and of the encoder's states outside of the graph:

- keys lie transposed, [.., size, length], as the scores need them;
- hypotheses of one window share what was computed of the encoder's states: they are rows of one multiplication.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from modelyard_build.model import Array, Arrays
from modelyard_build.nets import ctranslate2_file
from modelyard_build.nets.whisper_assets import WEIGHTS

# OpenAI's own, of every size.
HEAD_SIZE = 64
SPEC = "WhisperSpec"


class Attention(nn.Module):
    """The four projections; keys have no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def queries(self, states: Tensor) -> Tensor:
        """[.., length, width] -> [.., heads, length, size], scaled."""
        return _heads(self.q_proj(states) * HEAD_SIZE**-0.5)

    def keys(self, states: Tensor) -> Tensor:
        """[.., length, width] -> [.., heads, size, length]."""
        return _heads(self.k_proj(states)).transpose(-1, -2)

    def values(self, states: Tensor) -> Tensor:
        """[.., length, width] -> [.., heads, length, size]."""
        return _heads(self.v_proj(states))

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the queries find: [.., length, width]."""
        scores = queries @ keys
        found = (scores if mask is None else scores + mask).softmax(-1) @ values
        projected: Tensor = self.out_proj(found.transpose(-3, -2).flatten(-2))
        return projected


def _heads(states: Tensor) -> Tensor:
    return states.view(*states.shape[:-1], -1, HEAD_SIZE).transpose(-3, -2)


class Layer(nn.Module):
    """What layers of both halves have: attention to their own tokens, and the two linear ones."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.self_attn = Attention(width)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def widened(self, states: Tensor) -> Tensor:
        """The states with what the two linear ones add."""
        added: Tensor = self.fc2(functional.gelu(self.fc1(self.final_layer_norm(states))))
        return states + added


class EncoderLayer(Layer):
    """A layer of the encoder."""

    def forward(self, states: Tensor) -> Tensor:
        """[batch, length, width] -> the same."""
        normed, attention = self.self_attn_layer_norm(states), self.self_attn
        found = attention.attend(attention.queries(normed), attention.keys(normed), attention.values(normed))
        return self.widened(states + found)


class DecoderLayer(Layer):
    """A layer of the decoder, which attends to the encoder's states as well."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__(width, inner)
        self.encoder_attn = Attention(width)
        self.encoder_attn_layer_norm = nn.LayerNorm(width)

    def forward(
        self, states: Tensor, keys: Tensor, values: Tensor, cross_keys: Tensor, cross_values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One layer for new tokens.

        Args:
            states: float [windows, beams, new, width].
            keys: of the tokens before: float [windows, beams, heads, size, before].
            values: float [windows, beams, heads, before, size].
            cross_keys: of the encoder's states: float [windows, heads, size, frames].
            cross_values: float [windows, heads, frames, size].
            mask: float [new, before + new], -inf where a token must not look.

        Returns:
            The states, and keys and values with those of the new tokens.
        """
        normed = self.self_attn_layer_norm(states)
        keys = torch.cat([keys, self.self_attn.keys(normed)], -1)
        values = torch.cat([values, self.self_attn.values(normed)], -2)
        states = states + self.self_attn.attend(self.self_attn.queries(normed), keys, values, mask)
        # The tokens of all hypotheses are the rows of one multiplication with what belongs to their window.
        rows = self.encoder_attn_layer_norm(states).flatten(1, 2)
        found = self.encoder_attn.attend(self.encoder_attn.queries(rows), cross_keys, cross_values)
        return self.widened(states + found.view(states.shape)), keys, values


class Encoder(nn.Module):
    """The log-mel spectrogram of 30 s in, 1,500 states out."""

    def __init__(self, layers: int, width: int, inner: int, mels: int, frames: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(frames, width)
        self.layers = nn.ModuleList(EncoderLayer(width, inner) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, log_mel: Tensor) -> Tensor:
        """The states of 30 s: float [batch, mels, 2 * frames] -> float [batch, frames, width]."""
        states = functional.gelu(self.conv2(functional.gelu(self.conv1(log_mel))))
        states = states.transpose(1, 2) + self.embed_positions.weight
        for layer in self.layers:
            states = layer(states)
        return cast(Tensor, self.layer_norm(states))


class Decoder(nn.Module):
    """The next token's logits for each hypothesis; the last projection is the embedding, transposed."""

    def __init__(self, layers: int, width: int, inner: int, vocabulary: int, positions: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, width)
        self.embed_positions = nn.Embedding(positions, width)
        self.layers = nn.ModuleList(DecoderLayer(width, inner) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(width)

    def forward(
        self,
        tokens: Tensor,
        keys: list[Tensor],
        values: list[Tensor],
        cross_keys: list[Tensor],
        cross_values: list[Tensor],
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The logits after the last of the new tokens.

        Args:
            tokens: int64 [windows, beams, new].
            keys: of each layer, as `DecoderLayer.forward` takes them; before the first token of length 0.
            values: likewise.
            cross_keys: likewise.
            cross_values: likewise.

        Returns:
            float [windows, beams, vocabulary], and for each layer keys and values with those of the new tokens.
        """
        before, new = keys[0].shape[-1], tokens.shape[-1]
        position = torch.arange(before + new, device=tokens.device)
        at = position[before:]
        states = self.embed_tokens(tokens) + self.embed_positions(at)
        later = position[None, :] > at[:, None]
        mask = torch.zeros(later.shape, dtype=states.dtype, device=states.device).masked_fill(later, -torch.inf)
        all_keys, all_values = [], []
        for layer, *cache in zip(self.layers, keys, values, cross_keys, cross_values, strict=True):
            states, grown_keys, grown_values = layer(states, *cache, mask)
            all_keys.append(grown_keys)
            all_values.append(grown_values)
        last = self.layer_norm(states[:, :, -1])
        return last @ self.embed_tokens.weight.T, all_keys, all_values


class CrossCache(nn.Module):
    """What every token of a window attends to, computed once: each layer's keys and values of the encoder's states."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.layers = nn.ModuleList(cast(DecoderLayer, layer).encoder_attn for layer in decoder.layers)

    def forward(self, states: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """From float [windows, frames, width] keys and values of each layer, as `DecoderLayer.forward` takes them."""
        layers = [cast(Attention, layer) for layer in self.layers]
        return [layer.keys(states).contiguous() for layer in layers], [layer.values(states) for layer in layers]


def load_state(files: Mapping[str, Path]) -> dict[str, Tensor]:
    """The weights by the names of transformers, below `encoder.` and `decoder.`; float32."""
    stored = ctranslate2_file.read([files[name] for name in WEIGHTS], SPEC)
    return {name: torch.from_numpy(array.astype("float32")) for name, array in renamed(stored).items()}


def renamed(stored: Arrays) -> Arrays:
    """CTranslate2's variables by transformers' names: what it stores as one matrix is cut into its projections."""
    found: Arrays = {}
    for name, array in stored.items():
        half, _, rest = name.partition("/")
        if rest.startswith("layer_") and not rest.startswith("layer_norm/"):
            number, _, inside = rest.removeprefix("layer_").partition("/")
            found.update({f"{half}.layers.{number}.{key}": part for key, part in _of_layer(inside, array).items()})
        elif key := _ONCE.get(rest):
            found[f"{half}.{key}"] = array
    return found


_NORM = {"gamma": "weight", "beta": "bias"}
_ONCE = {
    "embeddings/weight": "embed_tokens.weight",
    "position_encodings/encodings": "embed_positions.weight",
    **{f"layer_norm/{theirs}": f"layer_norm.{ours}" for theirs, ours in _NORM.items()},
    **{f"conv{number}/{kind}": f"conv{number}.{kind}" for number in (1, 2) for kind in ("weight", "bias")},
}
# Each stored matrix, and the projections that it is made of, in order.
_JOINED = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
_NORMS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
}


def _of_layer(name: str, array: Array) -> Arrays:
    place, _, kind = name.rpartition("/")
    if place in _NORMS:
        return {f"{_NORMS[place]}.{_NORM[kind]}": array}
    names = _JOINED[place]
    parts = zip(names, array.reshape(len(names), -1, *array.shape[1:]), strict=True)
    # Whisper's keys have no bias; CTranslate2 stores zeros for it.
    return {f"{key}.{kind}": part for key, part in parts if not (kind == "bias" and key.endswith("k_proj"))}


def encoder_of(state: Mapping[str, Tensor]) -> Encoder:
    """The encoder with its weights, in eval mode."""
    own = _below("encoder.", state)
    inner, width = own[_INNER].shape
    encoder = Encoder(_layers(own), width, inner, own["conv1.weight"].shape[1], len(own[_POSITIONS]))
    encoder.load_state_dict(own)
    return encoder.eval()


def decoder_of(state: Mapping[str, Tensor]) -> Decoder:
    """The decoder with its weights, in eval mode."""
    own = _below("decoder.", state)
    inner, width = own[_INNER].shape
    decoder = Decoder(_layers(own), width, inner, len(own["embed_tokens.weight"]), len(own[_POSITIONS]))
    decoder.load_state_dict(own)
    return decoder.eval()


_POSITIONS, _INNER = "embed_positions.weight", "layers.0.fc1.weight"


def _below(half: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(half): tensor for name, tensor in state.items() if name.startswith(half)}


def _layers(state: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[1] for name in state if name.startswith("layers.")})
