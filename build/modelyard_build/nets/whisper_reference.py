"""Whisper as transformers runs it, with the same weights: what the served decoder is held against."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTimeStampLogitsProcessor,
)
from transformers.modeling_outputs import BaseModelOutput

from modelyard_build.nets.whisper import HEAD_SIZE

# Start, language and task.
PROMPT = 3


def load(state: Mapping[str, Tensor], special: Mapping[str, Any], max_tokens: int) -> WhisperForConditionalGeneration:
    """The whole model in eval mode.

    Args:
        state: as `nets.whisper.load_state` gives it.
        special: the vocabulary's special numbers, as the decoder's decoding.json has them.
        max_tokens: how many it writes at most, where it has positions for them.
    """
    frames, width = state["encoder.embed_positions.weight"].shape
    vocabulary, _ = state["decoder.embed_tokens.weight"].shape
    config = WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        num_mel_bins=state["encoder.conv1.weight"].shape[1],
        max_source_positions=frames,
        max_target_positions=special["positions"],
        **{f"{half}_layers": _layers(half, state) for half in ("encoder", "decoder")},
        **{f"{half}_attention_heads": width // HEAD_SIZE for half in ("encoder", "decoder")},
        **{f"{half}_ffn_dim": len(state[f"{half}.layers.0.fc1.weight"]) for half in ("encoder", "decoder")},
        **{f"{name}_token_id": special["end"] for name in ("bos", "eos", "pad")},
        decoder_start_token_id=special["start"],
    )
    model = WhisperForConditionalGeneration(config)
    own = {f"model.{name}": tensor for name, tensor in state.items()}
    model.load_state_dict({**own, "proj_out.weight": state["decoder.embed_tokens.weight"]})
    model.generation_config = _generation(special, min(max_tokens, special["positions"] - PROMPT))
    return cast(WhisperForConditionalGeneration, model.eval())


def _layers(half: str, state: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[2] for name in state if name.startswith(f"{half}.layers.")})


def _generation(special: Mapping[str, Any], max_tokens: int) -> GenerationConfig:
    return GenerationConfig(
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": token for code, token in special["languages"].items()},
        task_to_id={"transcribe": special["transcribe"]},
        no_timestamps_token_id=special["no_timestamps"],
        suppress_tokens=special["suppressed"],
        max_initial_timestamp_index=50,
        max_new_tokens=max_tokens,
        decoder_start_token_id=special["start"],
        **{f"{name}_token_id": special["end"] for name in ("bos", "eos", "pad")},
    )


def written(model: WhisperForConditionalGeneration, states: Tensor, language: str, beams: int) -> list[int]:
    """The tokens of one window, timestamps among them, without the prompt and the end.

    Args:
        model: as `load` gives it.
        states: of the encoder, float32 [frames, width].
        language: its code.
        beams: hypotheses.
    """
    settings = model.generation_config
    spoken = settings.lang_to_id[f"<|{language}|>"]
    prompt = torch.tensor([[settings.decoder_start_token_id, spoken, settings.task_to_id["transcribe"]]])
    with torch.inference_mode(), _quiet():
        # The search itself: Whisper's own `generate` goes on with what is left of a window.
        found = GenerationMixin.generate(
            model,
            encoder_outputs=BaseModelOutput(last_hidden_state=states[None]),
            decoder_input_ids=prompt,
            logits_processor=LogitsProcessorList([WhisperTimeStampLogitsProcessor(settings, begin_index=PROMPT)]),
            num_beams=beams,
            do_sample=False,
        )
    return [token for token in found[0, PROMPT:].tolist() if token != settings.eos_token_id]


def language_of(model: WhisperForConditionalGeneration, states: Tensor) -> str:
    """The code of the language that is most probably spoken: after the start, by the encoder's float32 states."""
    with torch.inference_mode(), _quiet():
        found = model.detect_language(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[None]), generation_config=model.generation_config
        )
    languages = {token: name.strip("<|>") for name, token in model.generation_config.lang_to_id.items()}
    return str(languages[int(found[0])])


def encoded(model: WhisperForConditionalGeneration, samples: npt.NDArray[np.float32]) -> Tensor:
    """The encoder's states of a window, float32 [frames, width], from its samples at 16 kHz, by transformers alone."""
    extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    features = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt").input_features
    with torch.inference_mode():
        return cast(Tensor, model.model.encoder(features).last_hidden_state[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """It warns of its own arguments."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def read_special(tokenizer: Path, config: Path, positions: int) -> dict[str, Any]:
    """The vocabulary's special numbers, as the decoder's decoding.json has them.

    Args:
        tokenizer: a tokenizer.json.
        config: CTranslate2's config.json: what is never written, and which tokens are languages.
        positions: how many tokens the decoder has positions for.
    """
    stored: dict[str, Any] = json.loads(tokenizer.read_text())
    numbers = {each["content"]: each["id"] for each in stored["added_tokens"]}
    names = {number: name for name, number in numbers.items()}
    settings = json.loads(config.read_text())
    return {
        "start": numbers["<|startoftranscript|>"],
        "end": numbers["<|endoftext|>"],
        "transcribe": numbers["<|transcribe|>"],
        "no_timestamps": numbers["<|notimestamps|>"],
        # Renamed by OpenAI in 2022; both are in use.
        "no_speech": numbers.get("<|nocaptions|>", numbers.get("<|nospeech|>")),
        # The file does not list them.
        "timestamps": numbers["<|notimestamps|>"] + 1,
        "suppressed": settings["suppress_ids"],
        "languages": {names[number].strip("<|>"): number for number in settings["lang_ids"]},
        "positions": positions,
    }
