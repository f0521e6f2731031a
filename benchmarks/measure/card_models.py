"""The models of the benchmark cards: batch 32, one shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard_build.model import Arrays, Model, Tensor
from modelyard_build.models import image_classifier, text_embedder, text_encoder
from modelyard_build.nets import minilm_assets

if TYPE_CHECKING:
    from torch import nn

BATCH, LENGTH, SEED = 32, 128, 0
SIZES = {"sequence": LENGTH}
TOKENS = text_encoder.Tokens(minilm_assets.TOKENIZER, "BertTokenizerFast", padding=0, max_length=LENGTH)


@dataclass(frozen=True)
class Card:
    """What a card measures.

    Attributes:
        model: the declaration.
        like: the declared model whose sources decide this one's artefacts too.
    """

    model: Model
    like: Model


def load_bert(_: Mapping[str, Path]) -> nn.Module:
    """BERT of the base size (110 M parameters), its weights random and always the same, with the mean of its tokens."""
    import torch
    from torch import nn
    from transformers import BertConfig, BertModel

    from modelyard_build.nets.pooling import mean_pool

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # "eager" attention, as in nets.minilm.
            self.bert = BertModel(BertConfig(attn_implementation="eager"), add_pooling_layer=False)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            """Int64 [batch, 128] twice -> float [batch, 768]."""
            states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return mean_pool(states, attention_mask)

    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return Bert().eval()


def full_rows(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """Real texts without padding, of the split that calibration does not see."""
    return TOKENS.calibration({**files, "train": files["test"]}, batch, SIZES)


def calibration(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """The same of the other split."""
    return TOKENS.calibration(files, batch, SIZES)


CARDS: Mapping[str, Card] = {
    "resnet50_b32": Card(
        replace(image_classifier.NET, name="resnet50_b32", max_batch_size=BATCH, optimum_batch_size=BATCH),
        like=image_classifier.NET,
    ),
    "bert_base_128_b32": Card(
        Model(
            name="bert_base_128_b32",
            summary="BERT-base of random weights: 128 tokens in, their mean state out",
            load=load_bert,
            inputs=(Tensor("input_ids", "INT64", (LENGTH,)), Tensor("attention_mask", "INT64", (LENGTH,))),
            outputs=(Tensor("state", "FP32", (768,)),),
            examples=full_rows,
            calibration=calibration,
            assets={**TOKENS.assets, **text_encoder.CALIBRATION_ASSETS},
            max_batch_size=BATCH,
            optimum_batch_size=BATCH,
            dynamic_batching=text_encoder.ENCODER_BATCHING,
        ),
        like=text_embedder.ENCODER,
    ),
}
