"""`text_embedder`: a text in, its meaning as a vector of unit length and 384 numbers out (all-MiniLM-L6-v2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard_build.model import Arrays, Ensemble, Model, Tensor
from modelyard_build.models import minilm_tokenizer
from modelyard_build.nets import minilm_assets

if TYPE_CHECKING:
    from torch import nn

# The length that the model's authors trained and published it with.
MAX_LENGTH = 256
EMBEDDING = Tensor("embedding", "FP32", (384,))
ASSETS = {**minilm_assets.ENCODER_ASSETS, **minilm_tokenizer.TEXT_ASSETS}


def load(files: Mapping[str, Path]) -> nn.Module:
    """The encoder with pooling and normalisation."""
    from modelyard_build.nets.minilm import SentenceEncoder, load_bert

    return SentenceEncoder(load_bert(files)).eval()


def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch and the transformers tokenizer answer."""
    from modelyard_build.nets.inference import run_texts

    return run_texts(load(files), files, minilm_tokenizer.texts_of(inputs), MAX_LENGTH, "embedding")


TOKENIZER = minilm_tokenizer.declare("text_embedder_tokenizer", MAX_LENGTH)

ENCODER = Model(
    name="text_embedder_encoder",
    summary="MiniLM with mean pooling and normalisation: tokens in, embedding out",
    load=load,
    inputs=minilm_tokenizer.token_tensors(MAX_LENGTH),
    outputs=(EMBEDDING,),
    examples=minilm_tokenizer.example_tokens,
    calibration=minilm_tokenizer.calibration_tokens,
    assets={**ASSETS, **minilm_tokenizer.CALIBRATION_ASSETS},
    max_batch_size=minilm_tokenizer.MAX_BATCH_SIZE,
    dynamic_batching=minilm_tokenizer.ENCODER_BATCHING,
    optimum_batch_size=minilm_tokenizer.OPTIMUM_BATCH_SIZE,
)

ENSEMBLE = Ensemble(
    name="text_embedder",
    summary="text in, unit-length embedding of 384 numbers out",
    steps=minilm_tokenizer.steps_through(TOKENIZER, ENCODER),
    inputs=(minilm_tokenizer.TEXT,),
    outputs=(EMBEDDING, minilm_tokenizer.TOKEN_COUNT),
    examples=minilm_tokenizer.example_texts,
    reference=reference,
    assets=ASSETS,
    max_batch_size=minilm_tokenizer.MAX_BATCH_SIZE,
)

MODELS = (TOKENIZER, ENCODER, ENSEMBLE)
