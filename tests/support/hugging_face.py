"""Small models of the transformers library with random weights, one for each architecture, saved as folders.

Weights are seeded, and wider than the library's own start: an untrained network otherwise gives the same answer to
every input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

TEXT = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
SMALL_TEXT = {**TEXT, "vocab_size": 300, "max_position_embeddings": 66}
IMAGE = {**TEXT, "image_size": 32, "patch_size": 8}
CONVOLUTIONS = {"conv_dim": (16,) * 4, "conv_kernel": (10, 3, 3, 2), "conv_stride": (5, 2, 2, 2)}
SOUND = {**TEXT, **CONVOLUTIONS, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
_SPREAD = 3.0


@dataclass(frozen=True)
class Architecture:
    """A class of transformers in a small size.

    Attributes:
        cls: the class.
        config: its config's class.
        settings: of the config.
        preprocessor: what preprocessor_config.json says; empty: there is none.
        tokenizer: the same of tokenizer_config.json.
    """

    cls: str
    config: str
    settings: Mapping[str, Any]
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Mapping[str, Any] = field(default_factory=dict)


ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": Architecture("BertModel", "BertConfig", SMALL_TEXT),
    "roberta": Architecture(
        "RobertaForSequenceClassification",
        "RobertaConfig",
        {**SMALL_TEXT, "type_vocab_size": 1, "id2label": {0: "good", 1: "bad", 2: "neither"}},
    ),
    "distilbert": Architecture(
        "DistilBertForTokenClassification",
        "DistilBertConfig",
        {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 96, "vocab_size": 300, "max_position_embeddings": 64},
    ),
    "albert": Architecture("AlbertModel", "AlbertConfig", {**SMALL_TEXT, "embedding_size": 16}),
    "electra": Architecture("ElectraForMaskedLM", "ElectraConfig", {**SMALL_TEXT, "embedding_size": 16}),
    "mpnet": Architecture("MPNetModel", "MPNetConfig", SMALL_TEXT),
    "deberta-v2": Architecture(
        "DebertaV2Model",
        "DebertaV2Config",
        {**SMALL_TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16,
         "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False},
    ),
    # Decides by the values of its mask: no graph holds it.
    "longformer": Architecture(
        "LongformerForSequenceClassification",
        "LongformerConfig",
        {**SMALL_TEXT, "attention_window": 16, "max_position_embeddings": 82, "pad_token_id": 1},
    ),
    "gpt2": Architecture(
        "GPT2LMHeadModel", "GPT2Config", {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 300}
    ),
    "llama": Architecture("LlamaForCausalLM", "LlamaConfig", {**SMALL_TEXT, "num_key_value_heads": 2}),
    "qwen2": Architecture("Qwen2ForCausalLM", "Qwen2Config", {**SMALL_TEXT, "num_key_value_heads": 2}),
    "t5": Architecture(
        "T5ForConditionalGeneration",
        "T5Config",
        {"d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 2, "num_heads": 4, "vocab_size": 300},
        tokenizer={"model_max_length": 64},
    ),
    "bart": Architecture(
        "BartModel",
        "BartConfig",
        {"d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "vocab_size": 300,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "max_position_embeddings": 64},
    ),
    "vit": Architecture("ViTForImageClassification", "ViTConfig", {**IMAGE, "num_labels": 5}),
    "deit": Architecture("DeiTModel", "DeiTConfig", IMAGE),
    "convnext": Architecture(
        "ConvNextForImageClassification",
        "ConvNextConfig",
        {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1], "num_labels": 5},
        {"size": {"shortest_edge": 64}},
    ),
    "resnet": Architecture(
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "layer_type": "basic"},
        {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
    ),
    "swin": Architecture(
        "SwinModel",
        "SwinConfig",
        {"image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    ),
    "segformer": Architecture(
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16, "num_labels": 4},
        {"size": {"height": 64, "width": 64}},
    ),
    "clip": Architecture(
        "CLIPModel",
        "CLIPConfig",
        {"projection_dim": 24, "vision_config": {**IMAGE, "projection_dim": 24},
         "text_config": {**SMALL_TEXT, "max_position_embeddings": 20, "eos_token_id": 299, "projection_dim": 24}},
    ),
    "wav2vec2": Architecture("Wav2Vec2Model", "Wav2Vec2Config", SOUND, {"sampling_rate": 400}),
    "wav2vec2-large": Architecture(
        "Wav2Vec2ForCTC",
        "Wav2Vec2Config",
        {**SOUND, "vocab_size": 32, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
        {"sampling_rate": 400, "return_attention_mask": True},
    ),
    "hubert": Architecture("HubertForSequenceClassification", "HubertConfig", SOUND, {"sampling_rate": 400}),
    "whisper": Architecture(
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {"d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "vocab_size": 300,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "num_mel_bins": 16,
         "max_source_positions": 30, "max_target_positions": 24, "pad_token_id": 0, "bos_token_id": 1,
         "eos_token_id": 2, "decoder_start_token_id": 1, "suppress_tokens": None, "begin_suppress_tokens": None},
    ),
    "audio-spectrogram-transformer": Architecture(
        "ASTForAudioClassification",
        "ASTConfig",
        {**TEXT, "max_length": 64, "num_mel_bins": 32, "num_labels": 4},
    ),
}  # fmt: skip


def save(name: str, folder: Path, **settings: Any) -> transformers.PreTrainedModel:
    """Writes a folder as `save_pretrained` does, with some settings of its own, and gives the model that is in it."""
    wanted, model = ARCHITECTURES[name], random_model(name, **settings)
    model.save_pretrained(folder)
    for file, content in (("preprocessor", wanted.preprocessor), ("tokenizer", wanted.tokenizer)):
        if content:
            (folder / f"{file}_config.json").write_text(json.dumps(dict(content)))
    return model


def random_model(name: str, **settings: Any) -> transformers.PreTrainedModel:
    """A model of an architecture, in eval mode; the same each time."""
    wanted = ARCHITECTURES[name]
    config = getattr(transformers, wanted.config)(**{**wanted.settings, **settings})
    torch.manual_seed(0)
    model = getattr(transformers, wanted.cls)(config).eval()
    _widen(model)
    return model


def _widen(model: nn.Module) -> None:
    """Spreads the weights of matrices, and gives vectors and statistics values of their own."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.mul_(_SPREAD) if parameter.ndim > 1 else parameter.add_(0.1 * noise)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
