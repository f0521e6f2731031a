"""The ticket classifier: MiniLM with its biases and layer norms tuned, and a linear head over the mean of the tokens.

Tuning only the biases (BitFit: Ben Zaken et al., 2022, arXiv:2106.10199) together with the layer norms changes 0.2 % of
the encoder, so what is kept in this repository is a file of kilobytes over weights that are fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertModel

from modelyard_build.nets.minilm import HIDDEN_SIZE, load_bert, token_states
from modelyard_build.nets.pooling import mean_pool

CLASSES = 8
HEAD_FILE = Path(__file__).with_name("ticket_classifier.safetensors")


class TicketClassifier(nn.Module):
    """Tokens in, the probability of each product out."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert
        self.head = nn.Linear(HIDDEN_SIZE, CLASSES)

    def logits(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [batch, sequence] twice -> float [batch, 8], unnormalised."""
        pooled = mean_pool(token_states(self.bert, input_ids, attention_mask)[-1], attention_mask)
        logits: Tensor = self.head(pooled)
        return logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [batch, sequence] twice -> float [batch, 8], each row summing to 1."""
        return self.logits(input_ids, attention_mask).softmax(-1)

    def tuned_parameters(self) -> dict[str, nn.Parameter]:
        """What the recipe trains and keeps: the head, the encoder's biases and its layer norms."""
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if name.startswith("head.") or name.endswith(".bias") or "LayerNorm" in name
        }


def load_classifier(files: Mapping[str, Path]) -> TicketClassifier:
    """The trained classifier, float32, in eval mode: fetched encoder, kept head and biases."""
    model = TicketClassifier(load_bert(files))
    tuned = load_file(HEAD_FILE)
    if tuned.keys() != model.tuned_parameters().keys():
        raise ValueError(f"{HEAD_FILE.name} holds other tensors than the classifier tunes; train it again")
    model.load_state_dict(tuned, strict=False)
    return model.eval()
