"""`passage_embedder`: a passage in, a vector of unit length and 768 numbers to search by out (all-mpnet-base-v2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard_build.datasets import complaints
from modelyard_build.evaluations import retrieval
from modelyard_build.model import Arrays, Ensemble, Evaluation, Model, Tensor
from modelyard_build.models import text_encoder
from modelyard_build.nets import mpnet_assets

if TYPE_CHECKING:
    from torch import nn

# The length that the model's authors published it with; they trained it on 128 tokens.
MAX_LENGTH = 384
# 6,144 tokens at once: enough for a GPU, and on a CPU larger batches gain nothing.
MAX_BATCH_SIZE, OPTIMUM_BATCH_SIZE = 16, 8
# A full batch of long passages takes seconds on a CPU, and who indexes sends many. A caller that does not wait says so
# with its deadline.
BATCHING = replace(text_encoder.ENCODER_BATCHING, default_timeout_microseconds=300_000_000)
EMBEDDING = Tensor("embedding", "FP32", (768,))
TOKENS = text_encoder.Tokens(
    mpnet_assets.TOKENIZER, "MPNetTokenizerFast", padding=1, max_length=MAX_LENGTH, max_batch_size=MAX_BATCH_SIZE
)
ASSETS = {**mpnet_assets.ENCODER_ASSETS, **TOKENS.assets}
# Of the passages that are searched in the evaluation: a token costs eight times what it costs MiniLM.
MAX_WORDS = 80
NEIGHBOURS = 10


def load(files: Mapping[str, Path]) -> nn.Module:
    """The encoder with pooling and normalisation."""
    from modelyard_build.nets.mpnet import PassageEncoder, load_mpnet

    return PassageEncoder(load_mpnet(files)).eval()


def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch and the transformers tokenizer answer."""
    from modelyard_build.nets.inference import run_texts

    tokenize = partial(TOKENS.tokenize, files)
    return run_texts(load(files), tokenize, text_encoder.texts_of(inputs), MAX_LENGTH, "embedding")


def evaluation_data(files: Mapping[str, Path]) -> tuple[Arrays, npt.NDArray[np.int64]]:
    """The 816 complaints of the test split with at most 80 words, and their products, short texts first."""
    data = complaints.load(files["test"])
    short = [index for index, text in enumerate(data.texts) if len(text.split()) <= MAX_WORDS]
    order = sorted(short, key=lambda index: len(data.texts[index]))
    return text_encoder.as_input([data.texts[index] for index in order]), data.labels[order]


TOKENIZER = TOKENS.step("passage_embedder_tokenizer")

ENCODER = Model(
    name="passage_embedder_encoder",
    summary="MPNet with mean pooling and normalisation: tokens in, embedding out",
    load=load,
    inputs=TOKENS.tensors,
    outputs=(EMBEDDING,),
    examples=TOKENS.examples,
    calibration=TOKENS.calibration,
    assets={**ASSETS, **text_encoder.CALIBRATION_ASSETS},
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=BATCHING,
    optimum_batch_size=OPTIMUM_BATCH_SIZE,
)

ENSEMBLE = Ensemble(
    name="passage_embedder",
    summary="passage in, unit-length embedding of 768 numbers out",
    steps=text_encoder.steps_through(TOKENIZER, ENCODER),
    inputs=(text_encoder.TEXT,),
    outputs=(EMBEDDING, text_encoder.TOKEN_COUNT),
    examples=text_encoder.example_texts,
    reference=reference,
    assets=ASSETS,
    max_batch_size=MAX_BATCH_SIZE,
    verified_items=100,
    evaluation=Evaluation(
        data=evaluation_data,
        figures=retrieval("embedding", NEIGHBOURS),
        data_sha256=complaints.TEST.sha256,
    ),
)

MODELS = (TOKENIZER, ENCODER, ENSEMBLE)
