"""Which of a model's outputs are worth serving, and the labels of a classifier's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from modelyard_build.adoption.hugging_face.inputs import Input
from modelyard_build.errors import AdoptionFailed

# What is between input and answer, or for generation; and a score of every item against every other of the batch.
_INNER = frozenset({
    "loss", "past_key_values", "hidden_states", "attentions", "encoder_last_hidden_state", "extract_features",
    "logits_per_image", "logits_per_text", "logits_per_audio", "logits_per_video",
})  # fmt: skip
# States are an answer only where there is no other.
_STATES = frozenset({"last_hidden_state", "pooler_output"})
_UNNAMED = "LABEL_"


def outputs_of(model: PreTrainedModel, inputs: list[Input]) -> dict[str, Tensor]:
    """The outputs to serve, by name, as the model gives them for the example.

    Raises:
        AdoptionFailed: the model fails on the example, or gives nothing that belongs to the items of a batch.
    """
    if not inputs:
        taken = ", ".join(inspect.signature(model.forward).parameters)
        raise AdoptionFailed(
            f"{type(model).__name__} takes {taken}, none of which is of a kind that can be drawn for it. Give "
            "--example inputs.npz, with an array for each that it needs, the batch first."
        )
    found = {name: value for name, value in _run(model, inputs).items() if isinstance(value, Tensor)}
    batch = inputs[0].example.shape[:1]
    found = {name: value for name, value in found.items() if name not in _INNER and value.shape[:1] == batch}
    answers = {name: value for name, value in found.items() if name not in _STATES} or found
    if not answers:
        raise AdoptionFailed(
            f"{type(model).__name__} gives nothing that belongs to the items of a batch. Name another class with "
            "--class, or wrap it in a module of your own and adopt that as path.py:Class."
        )
    return answers


def _run(model: PreTrainedModel, inputs: list[Input]) -> Mapping[str, Any]:
    tensors = {one.name: torch.from_numpy(one.example) for one in inputs}
    try:
        with torch.inference_mode():
            outputs: Mapping[str, Any] = model(**tensors)
    # A model raises whatever it likes about inputs that it does not take.
    except Exception as error:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        reason = " ".join(str(error).split())[:300]
        raise AdoptionFailed(
            f"{type(model).__name__} fails on {shapes}: {type(error).__name__}: {reason}. Where it needs other "
            "inputs than its config tells, give them: --example inputs.npz, an array for each, the batch first; or "
            "name another class with --class."
        ) from error
    return outputs


def labels_of(config: PretrainedConfig, outputs: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """The classes' names of a classifier's logits; nothing where the config has no names of its own."""
    names = getattr(config, "id2label", None) or {}
    logits = outputs.get("logits")
    if logits is None or logits.ndim != 2 or logits.shape[1] != len(names) or sorted(names) != list(range(len(names))):
        return {}
    labels = tuple(str(names[index]) for index in sorted(names))
    return {} if all(label.startswith(_UNNAMED) for label in labels) else {"logits": labels}
