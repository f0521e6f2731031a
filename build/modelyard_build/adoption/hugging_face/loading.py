"""A model of the transformers library out of files: its config and its weights.

Nothing is looked up by name, no code out of a folder is run, and every weight is accounted for: transformers itself
fills what a checkpoint lacks with random numbers and goes on.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from modelyard_build.adoption.checkpoints import read_state
from modelyard_build.adoption.hugging_face.configs import class_of, read_config, settings_of
from modelyard_build.errors import AdoptionFailed
from modelyard_build.quiet_transformers import quiet

# Of a list of weights, in a message.
_MOST_NAMED = 3


@dataclass(frozen=True)
class Loaded:
    """A model with its weights.

    Attributes:
        model: float32, eval mode.
        unused: weights of the checkpoint that the class has no place for: heads of other tasks.
        stored: the dtypes of the checkpoint's weights.
    """

    model: PreTrainedModel
    unused: tuple[str, ...]
    stored: frozenset[torch.dtype]


def load_model(architecture: str, config: Path, *weights: Path) -> PreTrainedModel:
    """A model with its weights, in float32 and eval mode; see `load`."""
    return load(architecture, config, *weights).model


def load(architecture: str, config: Path, *weights: Path) -> Loaded:
    """A model with its weights, each of them accounted for.

    "eager" attention traces to plain MatMul and Softmax, which every runtime fuses. Caches are for generation, which a
    single graph does not do.

    Args:
        architecture: a class of transformers ("BertModel"), or one of its Auto classes.
        config: a config.json.
        weights: safetensors, or PyTorch checkpoints that hold nothing but tensors; the parts of one model.

    Raises:
        AdoptionFailed: a file is no such file, the class is unknown, or the weights are not those of the config.
    """
    whole = read_config(config)
    cls = class_of(architecture, whole)
    settings = settings_of(cls, whole)
    tensors = {name: tensor for path in weights for name, tensor in read_state(path).items()}
    where = f"{cls.__name__} as {config} describes it"
    model, found = _filled(cls, settings, tensors)
    missing = sorted(found["missing_keys"])
    if missing and takes_pooler(cls) and all("pooler." in name for name in missing):
        # A pooler of random numbers answers nonsense; without one the model keeps its other outputs.
        model, found = _filled(cls, settings, tensors, add_pooling_layer=False)
        missing = sorted(found["missing_keys"])
    _check_shapes(where, found["mismatched_keys"])
    _check_missing(where, missing)
    unused = sorted(found["unexpected_keys"])
    _check_unused(where, model, unused)
    stored = frozenset(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    return Loaded(model.eval(), tuple(unused), stored)


def _filled(
    cls: type[PreTrainedModel], settings: PretrainedConfig, tensors: dict[str, Tensor], **more: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        with quiet():
            model, found = cls.from_pretrained(
                None,
                config=settings,
                state_dict=tensors,
                dtype=torch.float32,
                attn_implementation="eager",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **more,
            )
    # Each model checks its settings in its own way, many of them only while they make their layers.
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise AdoptionFailed(
            f"transformers {transformers.__version__} cannot make a {cls.__name__} of its config: {reason}. Config and "
            "class are not of one model, or of another version of the library."
        ) from error
    return model, found


def takes_pooler(cls: type[PreTrainedModel]) -> bool:
    """Whether models of a class are made with a pooling layer or without."""
    return "add_pooling_layer" in inspect.signature(cls.__init__).parameters


def _check_shapes(where: str, mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    found = sorted((name, list(stored), list(wanted)) for name, stored, wanted in mismatched)
    if found:
        named = "; ".join(f"{name} is {stored}, expected {wanted}" for name, stored, wanted in found[:_MOST_NAMED])
        raise AdoptionFailed(
            f"the weights do not fit {where}: {named}{_more(found)}. Config and weights are of different models: fetch "
            "both again from one place."
        )


def _check_missing(where: str, missing: Sequence[str]) -> None:
    if missing:
        raise AdoptionFailed(
            f"the weights lack {len(missing)} tensors of {where}: {_some(missing)}. They would be random numbers. If "
            "the checkpoint is of a base model, say --class AutoModel; if parts are missing, fetch them."
        )


def _check_unused(where: str, model: nn.Module, unused: Sequence[str]) -> None:
    """Heads of other tasks may be left over; further layers of the same kind say that the config is another one."""
    kinds = {_kind(name) for name in model.state_dict()}
    if layers := [name for name in unused if _kind(name) in kinds]:
        raise AdoptionFailed(
            f"the weights hold {len(layers)} tensors for which {where} has no place: {_some(layers)}. The config has "
            "fewer layers than the weights: fetch both again from one place."
        )


def _kind(name: str) -> str:
    """A weight's name without the numbers of its layers."""
    return re.sub(r"\.\d+(?=\.)", ".N", name)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + _more(names)


def _more(found: Sequence[object]) -> str:
    return f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
