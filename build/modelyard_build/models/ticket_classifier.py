"""`ticket_classifier`: a consumer complaint in, the probability of each of 8 products out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard_build.datasets import complaints
from modelyard_build.evaluations import by_class, classification
from modelyard_build.model import Arrays, Ensemble, Evaluation, Model, Tensor
from modelyard_build.models import text_encoder
from modelyard_build.nets import minilm_assets

if TYPE_CHECKING:
    from torch import nn

# The length that the classifier was trained with: half the complaints are longer, and their rest changes few answers.
MAX_LENGTH = 128
LABELS = tuple(complaints.LABELS.values())
PROBABILITIES = Tensor("probabilities", "FP32", (len(LABELS),), labels=LABELS)
TOKENS = text_encoder.Tokens(minilm_assets.TOKENIZER, "BertTokenizerFast", padding=0, max_length=MAX_LENGTH)
ASSETS = {**minilm_assets.ENCODER_ASSETS, **TOKENS.assets}


def load(files: Mapping[str, Path]) -> nn.Module:
    """The tuned encoder with its head."""
    from modelyard_build.nets.ticket_classifier import load_classifier

    return load_classifier(files)


def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch and the transformers tokenizer answer."""
    from modelyard_build.nets.inference import run_texts

    tokenize = partial(TOKENS.tokenize, files)
    return run_texts(load(files), tokenize, text_encoder.texts_of(inputs), MAX_LENGTH, "probabilities")


def evaluation_data(files: Mapping[str, Path]) -> tuple[Arrays, npt.NDArray[np.int64]]:
    """The 3,000 complaints of the test split and their products, short texts first: batches of them pad little."""
    data = complaints.load(files["test"])
    order = np.argsort([len(text) for text in data.texts], kind="stable")
    return text_encoder.as_input([data.texts[index] for index in order]), data.labels[order]


TOKENIZER = TOKENS.step("ticket_classifier_tokenizer")

ENCODER = Model(
    name="ticket_classifier_encoder",
    summary="tuned MiniLM with its head: tokens in, product probabilities out",
    load=load,
    inputs=TOKENS.tensors,
    outputs=(PROBABILITIES,),
    examples=TOKENS.examples,
    calibration=TOKENS.calibration,
    assets={**ASSETS, **text_encoder.CALIBRATION_ASSETS},
    max_batch_size=text_encoder.MAX_BATCH_SIZE,
    dynamic_batching=text_encoder.ENCODER_BATCHING,
    optimum_batch_size=text_encoder.OPTIMUM_BATCH_SIZE,
)

ENSEMBLE = Ensemble(
    name="ticket_classifier",
    summary="consumer complaint in, probability of each of 8 products out",
    steps=text_encoder.steps_through(TOKENIZER, ENCODER),
    inputs=(text_encoder.TEXT,),
    outputs=(PROBABILITIES, text_encoder.TOKEN_COUNT),
    examples=text_encoder.example_texts,
    reference=reference,
    assets=ASSETS,
    max_batch_size=text_encoder.MAX_BATCH_SIZE,
    evaluation=Evaluation(
        data=evaluation_data,
        figures=classification("probabilities"),
        details=by_class("probabilities", LABELS),
        data_sha256=complaints.TEST.sha256,
    ),
)

MODELS = (TOKENIZER, ENCODER, ENSEMBLE)
