"""The layers behind the pooling of a sentence encoder, as the sentence-transformers library lays them out."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from modelyard_build.adoption.checkpoints import read_state
from modelyard_build.errors import AdoptionFailed
from modelyard_build.steps.hugging_face_module import dense


def load_dense(path: Path, activation: str) -> nn.Module:
    """A linear layer with its activation, as the library stores it.

    Args:
        path: its weights, `linear.weight` and perhaps `linear.bias`.
        activation: a class of torch.nn.

    Raises:
        AdoptionFailed: the file holds something else.
    """
    tensors = read_state(path)
    if not {"linear.weight"} <= set(tensors) <= {"linear.weight", "linear.bias"}:
        raise AdoptionFailed(
            f"{path} holds {', '.join(sorted(tensors)[:4])}; expected is linear.weight, and linear.bias where there is "
            "one. Fetch the folder again."
        )
    width_out, width_in = tensors["linear.weight"].shape
    layers = dense(width_in, width_out, activation, bias="linear.bias" in tensors)
    layers[0].load_state_dict({name.removeprefix("linear."): tensor.float() for name, tensor in tensors.items()})
    return layers
