"""A model of the transformers library that cannot be exported, served as it is; see `module_step`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from modelyard_build import module_step
from modelyard_build.adoption.hugging_face.loading import takes_pooler
from modelyard_build.assets import LocalAsset
from modelyard_build.model import Model, PythonModel
from modelyard_build.steps import hugging_face_module
from modelyard_build.steps.hugging_face_module import SentenceEncoder, Served

_SOURCE = Path(hugging_face_module.__file__)


def as_it_is(
    model: Model,
    original: Callable[[Mapping[str, Path]], nn.Module],
    places: Mapping[str, str],
    batch: Mapping[str, int] | None = None,
    numbers: Sequence[str] = (),
) -> PythonModel:
    """Declares a model as a step that runs it in PyTorch, by the transformers library of the place where it is served.

    Args:
        model: the declaration that an export would take.
        original: gives a `Served` or a `SentenceEncoder` with its weights.
        places: where each output stands in what that returns.
        batch: the dimension that is the batch, for outputs in which it is not the first.
        numbers: the inputs that have one number for each item.

    Raises:
        BrokenDeclaration: the model has no batch dimension.
    """
    return module_step.as_it_is(
        model,
        module=f"{_SOURCE.stem}:make",
        sources={_SOURCE.name: LocalAsset(_SOURCE)},
        original=original,
        places=places,
        batch=batch,
        numbers=numbers,
        arguments=arguments_of,
    )


def arguments_of(module: nn.Module) -> dict[str, Any]:
    """What makes a module of the same kind again: the arguments of `hugging_face_module.make`."""
    if isinstance(module, Served):
        return {"kind": "served", "outputs": module.outputs, **_model(module.model)}
    assert isinstance(module, SentenceEncoder)  # noqa: S101  # what adoption loads
    return {
        "kind": "sentence_encoder",
        "pooling": module.pooling,
        "layers": [_layer(*layer.children()) for layer in module.layers],
        "normalise": module.normalise,
        **_model(module.model),
    }


def _layer(linear: nn.Module, activation: nn.Module) -> dict[str, Any]:
    """The arguments of `dense`."""
    assert isinstance(linear, nn.Linear)  # noqa: S101  # what `dense` makes
    return {
        "width_in": linear.in_features,
        "width_out": linear.out_features,
        "activation": type(activation).__name__,
        "bias": linear.bias is not None,
    }


def _model(model: nn.Module) -> dict[str, Any]:
    assert isinstance(model, PreTrainedModel)  # noqa: S101  # what adoption loads
    return {
        "architecture": type(model).__name__,
        # All of them: another version of the library may have other defaults.
        "settings": json.loads(model.config.to_json_string(use_diff=False)),
        "pooler": not takes_pooler(type(model)) or getattr(model, "pooler", None) is not None,
    }
