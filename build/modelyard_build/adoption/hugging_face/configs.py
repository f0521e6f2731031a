"""What config.json says: a model of transformers, and which of its classes; nothing that runs code or is quantised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import transformers
from transformers import CONFIG_MAPPING, PretrainedConfig, PreTrainedModel

from modelyard_build.errors import AdoptionFailed

_Json = TypeVar("_Json", dict[str, Any], list[Any])


def read_config(path: Path) -> PretrainedConfig:
    """The settings of a model, without caches.

    Raises:
        AdoptionFailed: it is no config.json of transformers, or of a model that cannot be loaded as it stands.
    """
    content = read_json(path, dict)
    _check_config(path, content)
    try:
        settings = CONFIG_MAPPING[content["model_type"]].from_dict(content)
    # Each model checks its settings in its own way.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise AdoptionFailed(f"{path} does not fit its model_type {content['model_type']!r}: {reason}") from error
    for part in (settings, *_parts(settings)):
        part.use_cache = False
    return settings


def _parts(settings: PretrainedConfig) -> Iterator[PretrainedConfig]:
    """The settings of a model's towers, where it has several."""
    yield from (value for value in vars(settings).values() if isinstance(value, PretrainedConfig))


def read_json(path: Path, kind: type[_Json]) -> _Json:
    """What a JSON file holds: an object (`dict`) or a list.

    Raises:
        AdoptionFailed: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AdoptionFailed(f"{path} cannot be read: {error.strerror}. Put it back, or mend its path.") from error
    except ValueError as error:
        raise AdoptionFailed(f"{path} is no JSON: {error}. Fetch it again.") from error
    if not isinstance(content, kind):
        raise AdoptionFailed(f"{path} holds a {type(content).__name__}; expected is a {kind.__name__}. Fetch it again.")
    return content


def _check_config(path: Path, content: dict[str, Any]) -> None:
    if content.get("auto_map"):
        code = ", ".join(sorted({str(value) for value in content["auto_map"].values()}))
        raise AdoptionFailed(
            f"{path} says that the model is code of its own ({code}), which came with the weights. Nothing is run that "
            "came with weights. Read that code, copy it to a module of yours, and adopt it as path.py:Class."
        )
    if method := (content.get("quantization_config") or {}).get("quant_method", content.get("quantization_config")):
        raise AdoptionFailed(
            f"{path} says that the weights are quantised ({method}), for kernels that no graph has. Take the float "
            "checkpoint that they were made from; int8 and fp8 are made of it with `modelyard build --targets`."
        )
    model_type = content.get("model_type")
    if not isinstance(model_type, str):
        raise AdoptionFailed(f"{path} has no model_type, so it is no config.json of a transformers model.")
    if model_type not in CONFIG_MAPPING:
        raise AdoptionFailed(
            f"{path} has the model_type {model_type!r}, which transformers {transformers.__version__} does not know. "
            "It may be newer, or code of its own: adopt such a model as path.py:Class."
        )


def class_of(architecture: str, settings: PretrainedConfig) -> type[PreTrainedModel]:
    """The class of transformers that a name stands for; an Auto class becomes the model's own.

    Raises:
        AdoptionFailed: there is no such class, or not for this model.
    """
    cls = getattr(transformers, architecture, None) if architecture.isidentifier() else None
    mapping = getattr(cls, "_model_mapping", None)
    if mapping is not None:
        if type(settings) not in mapping:
            raise AdoptionFailed(
                f"transformers {transformers.__version__} has no {architecture} for the model_type "
                f"{settings.model_type!r}. The config names {', '.join(settings.architectures or ()) or 'no class'}."
            )
        found = mapping[type(settings)]
        cls = found[0] if isinstance(found, tuple) else found
    if not isinstance(cls, type) or not issubclass(cls, PreTrainedModel):
        raise AdoptionFailed(
            f"transformers {transformers.__version__} has no model {architecture!r}. Name one with --class, such as "
            "AutoModel or AutoModelForSequenceClassification."
        )
    return cls


def settings_of(cls: type[PreTrainedModel], whole: PretrainedConfig) -> PretrainedConfig:
    """A class for one tower of several has that tower's settings.

    Raises:
        AdoptionFailed: the class is another model's.
    """
    wanted = cls.config_class or PretrainedConfig
    if isinstance(whole, wanted):
        return whole
    found = next((part for part in _parts(whole) if isinstance(part, wanted)), None)
    if found is None:
        raise AdoptionFailed(
            f"{cls.__name__} is a class for {wanted.model_type!r}; the config is of {whole.model_type!r} "
            f"({', '.join(whole.architectures or ()) or 'no class named'}). Name one of its own with --class."
        )
    return found
