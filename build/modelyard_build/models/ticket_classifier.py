"""`ticket_classifier`: a consumer complaint in, the probability of each of 8 products out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard_build.datasets import complaints
from modelyard_build.evaluations import classification
from modelyard_build.model import Arrays, Ensemble, Evaluation, Model, Tensor
from modelyard_build.models import minilm_tokenizer
from modelyard_build.nets import minilm_assets

if TYPE_CHECKING:
    from torch import nn

# The length that the classifier was trained with: half the complaints are longer, and their rest changes few answers.
MAX_LENGTH = 128
LABELS = tuple(complaints.LABELS.values())
PROBABILITIES = Tensor("probabilities", "FP32", (len(LABELS),), labels=LABELS)
ASSETS = {**minilm_assets.ENCODER_ASSETS, **minilm_tokenizer.TEXT_ASSETS}


def load(files: Mapping[str, Path]) -> nn.Module:
    """The tuned encoder with its head."""
    from modelyard_build.nets.ticket_classifier import load_classifier

    return load_classifier(files)


def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch and the transformers tokenizer answer."""
    from modelyard_build.nets.inference import run_texts

    return run_texts(load(files), files, minilm_tokenizer.texts_of(inputs), MAX_LENGTH, "probabilities")


def evaluation_data(files: Mapping[str, Path]) -> tuple[Arrays, npt.NDArray[np.int64]]:
    """The 3,000 complaints of the test split and their products, short texts first: batches of them pad little."""
    data = complaints.load(files["test"])
    order = np.argsort([len(text) for text in data.texts], kind="stable")
    texts = np.array([data.texts[index].encode() for index in order], dtype=np.object_)
    return {"text": texts.reshape(-1, 1)}, data.labels[order]


TOKENIZER = minilm_tokenizer.declare("ticket_classifier_tokenizer", MAX_LENGTH)

ENCODER = Model(
    name="ticket_classifier_encoder",
    summary="tuned MiniLM with its head: tokens in, product probabilities out",
    load=load,
    inputs=minilm_tokenizer.token_tensors(MAX_LENGTH),
    outputs=(PROBABILITIES,),
    examples=minilm_tokenizer.example_tokens,
    calibration=minilm_tokenizer.calibration_tokens,
    assets={**ASSETS, **minilm_tokenizer.CALIBRATION_ASSETS},
    max_batch_size=minilm_tokenizer.MAX_BATCH_SIZE,
    dynamic_batching=minilm_tokenizer.ENCODER_BATCHING,
    optimum_batch_size=minilm_tokenizer.OPTIMUM_BATCH_SIZE,
)

ENSEMBLE = Ensemble(
    name="ticket_classifier",
    summary="consumer complaint in, probability of each of 8 products out",
    steps=minilm_tokenizer.steps_through(TOKENIZER, ENCODER),
    inputs=(minilm_tokenizer.TEXT,),
    outputs=(PROBABILITIES, minilm_tokenizer.TOKEN_COUNT),
    examples=minilm_tokenizer.example_texts,
    reference=reference,
    assets=ASSETS,
    max_batch_size=minilm_tokenizer.MAX_BATCH_SIZE,
    evaluation=Evaluation(
        data=evaluation_data,
        figures=classification("probabilities"),
        data_sha256=complaints.TEST.sha256,
    ),
)

MODELS = (TOKENIZER, ENCODER, ENSEMBLE)
