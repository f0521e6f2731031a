"""`passage_embedder` in small: its own code on random weights and a tokenizer of letters, nothing fetched."""

from __future__ import annotations

import json
import string
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import RobertaProcessing
from torch import nn
from transformers import MPNetConfig, MPNetModel

from modelyard_build.assets import Asset, LocalAsset
from modelyard_build.model import AnyModel, Tensor
from modelyard_build.models import passage_embedder

WIDTH = 32
PADDING, UNKNOWN = "<pad>", "[UNK]"
SPECIAL = ("<s>", PADDING, "</s>", "<unk>", UNKNOWN, "<mask>")
# As the upstream file has them: whoever takes them as they stand pads each text to 128.
FIXED_WIDTH = 128


def write_small_mpnet(folder: Path) -> dict[str, Path]:
    """Writes `config`, `weights` and `tokenizer` into a folder."""
    files = {
        "config": folder / "config.json",
        "weights": folder / "model.safetensors",
        "tokenizer": folder / "tokenizer.json",
    }
    tokenizer = _tokenizer()
    tokenizer.save(str(files["tokenizer"]))
    settings = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 514,
        "initializer_range": 0.2,
        "layer_norm_eps": 1e-5,
    }
    files["config"].write_text(json.dumps(settings))
    torch.manual_seed(13)
    mpnet = MPNetModel(MPNetConfig(**settings), add_pooling_layer=False)
    for name, parameter in mpnet.named_parameters():
        # A fresh model has biases of 0 and scales of 1, which no lost weight could change.
        if name.endswith("bias") or "LayerNorm" in name:
            nn.init.normal_(parameter, mean=float("LayerNorm.weight" in name), std=0.1)
    save_file(mpnet.state_dict(), files["weights"])
    return files


def _tokenizer() -> Tokenizer:
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    words = ["the", "my", "account", "credit", "bank", "loan", "debt", "card", "mortgage", "payment"]
    names = [*SPECIAL, *words, *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(WordPiece({name: index for index, name in enumerate(names)}, unk_token=UNKNOWN))
    tokenizer.add_special_tokens([AddedToken(name, lstrip=name == "<mask>") for name in SPECIAL])
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.enable_padding(pad_id=1, pad_token=PADDING, length=FIXED_WIDTH)
    tokenizer.enable_truncation(FIXED_WIDTH)
    return tokenizer


def declare(folder: Path) -> tuple[AnyModel, ...]:
    """The system's own declarations, with the files of `write_small_mpnet` in the place of the fetched ones."""
    own: dict[str, Asset] = {name: LocalAsset(path) for name, path in write_small_mpnet(folder).items()}
    embedding = Tensor("embedding", "FP32", (WIDTH,))
    step, encoder, ensemble = passage_embedder.MODELS
    return (
        replace(
            step,
            files={"tokenizer.json": own["tokenizer"]},
            assets={**step.assets, "tokenizer": own["tokenizer"]},
        ),
        replace(encoder, assets={**encoder.assets, **own}, outputs=(embedding,)),
        replace(
            ensemble,
            assets={**ensemble.assets, **own},
            outputs=(embedding, *ensemble.outputs[1:]),
            verified_items=40,
        ),
    )
