"""`text_embedder`: a text in, its meaning as a vector of unit length and 384 numbers out (all-MiniLM-L6-v2)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard_build.model import Arrays, Ensemble, Model, Tensor
from modelyard_build.models import text_encoder
from modelyard_build.nets import minilm_assets

if TYPE_CHECKING:
    from torch import nn

# The length that the model's authors trained and published it with.
MAX_LENGTH = 256
EMBEDDING = Tensor("embedding", "FP32", (384,))
TOKENS = text_encoder.Tokens(minilm_assets.TOKENIZER, "BertTokenizerFast", padding=0, max_length=MAX_LENGTH)
ASSETS = {**minilm_assets.ENCODER_ASSETS, **TOKENS.assets}


def load(files: Mapping[str, Path]) -> nn.Module:
    """The encoder with pooling and normalisation."""
    from modelyard_build.nets.minilm import SentenceEncoder, load_bert

    return SentenceEncoder(load_bert(files)).eval()


def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch and the transformers tokenizer answer."""
    from modelyard_build.nets.inference import run_texts

    tokenize = partial(TOKENS.tokenize, files)
    return run_texts(load(files), tokenize, text_encoder.texts_of(inputs), MAX_LENGTH, "embedding")


TOKENIZER = TOKENS.step("text_embedder_tokenizer")

ENCODER = Model(
    name="text_embedder_encoder",
    summary="MiniLM with mean pooling and normalisation: tokens in, embedding out",
    load=load,
    inputs=TOKENS.tensors,
    outputs=(EMBEDDING,),
    examples=TOKENS.examples,
    calibration=TOKENS.calibration,
    assets={**ASSETS, **text_encoder.CALIBRATION_ASSETS},
    max_batch_size=text_encoder.MAX_BATCH_SIZE,
    dynamic_batching=text_encoder.ENCODER_BATCHING,
    optimum_batch_size=text_encoder.OPTIMUM_BATCH_SIZE,
)

ENSEMBLE = Ensemble(
    name="text_embedder",
    summary="text in, unit-length embedding of 384 numbers out",
    steps=text_encoder.steps_through(TOKENIZER, ENCODER),
    inputs=(text_encoder.TEXT,),
    outputs=(EMBEDDING, text_encoder.TOKEN_COUNT),
    examples=text_encoder.example_texts,
    reference=reference,
    assets=ASSETS,
    max_batch_size=text_encoder.MAX_BATCH_SIZE,
)

MODELS = (TOKENIZER, ENCODER, ENSEMBLE)
