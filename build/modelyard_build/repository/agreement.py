"""What a rebuild changes in a config that people own: the fields that the artefact dictates, where nobody touched them.

A field that says what the version before was declared with was the build's, and follows the declaration. One that says
something else was edited: it stays, and where it contradicts the artefact `config.check` stops the build.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard_build.model import AnyModel, Ensemble, PythonModel, Tensor
from modelyard_build.repository import config, samples
from modelyard_build.repository.model_config import ModelConfig, model_config_pb2
from modelyard_build.repository.text_format.edit import Editor


def signature(model: AnyModel) -> dict[str, Any]:
    """What a declaration dictates to its config, for the manifest."""
    found: dict[str, Any] = {
        "max_batch_size": model.max_batch_size,
        "inputs": [_described(tensor) for tensor in model.inputs],
        "outputs": [{**_described(tensor), "labels": bool(tensor.labels)} for tensor in model.outputs],
    }
    if isinstance(model, Ensemble):
        found["steps"] = [
            {"model": step.model, "input_map": dict(step.input_map), "output_map": dict(step.output_map)}
            for step in model.steps
        ]
    if isinstance(model, PythonModel):
        found["parameters"] = model.all_parameters
    return found


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "dims": list(tensor.config_dims)}


def agree(text: str, model: AnyModel, before: Mapping[str, Any] | None, warmup: Sequence[Tensor] = ()) -> str:
    """A config's text with what is stale in it as the model is declared now.

    Args:
        text: of the config.
        model: the declaration.
        before: the signature of the version that stands, see `signature`; None: there is none, so nothing is stale.
        warmup: the inputs for which warmup files will stand, each with its fixed dims.

    Returns:
        The text itself where nothing is stale or it cannot be read; `config.check` tells of that.
    """
    now = signature(model)
    if before is None or before == now:
        return text
    try:
        editor = Editor(text, ModelConfig)
    except ValueError:
        return text
    target = ModelConfig()
    target.CopyFrom(editor.message)
    renamed = _tensors(target.input, before["inputs"], now["inputs"])
    _tensors(target.output, before["outputs"], now["outputs"])
    if target.max_batch_size == before["max_batch_size"] and _must_follow(
        before["max_batch_size"], now["max_batch_size"]
    ):
        target.max_batch_size = now["max_batch_size"]
        if not now["max_batch_size"]:
            # Batches of a model that has none would be formed by nobody, though Triton takes the block.
            target.ClearField("dynamic_batching")
    _warmup(target, before["inputs"], now["inputs"], renamed, {tensor.name: tensor for tensor in warmup})
    _steps(target.ensemble_scheduling, before.get("steps"), now.get("steps", []))
    for key in now.get("parameters", {}).keys() - before.get("parameters", now.get("parameters", {})).keys():
        if key not in target.parameters:
            target.parameters[key].string_value = now["parameters"][key]
    editor.conform(target)
    return editor.text


def _must_follow(before: int, now: int) -> bool:
    """A smaller batch is all that was proven; a model that got a batch dimension, or lost it, has other dims."""
    return now < before or not before


def _tensors(stated: Any, before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Makes inputs or outputs follow; returns the new names by the old ones."""
    old, new = ({tensor["name"]: tensor for tensor in tensors} for tensors in (before, now))
    renamed = _renamed(list(old), list(new))
    if not stated:
        return renamed
    kept = []
    for tensor in stated:
        name = renamed.get(tensor.name, tensor.name)
        if tensor.name in old and name in new:
            _follow(tensor, old[tensor.name], new[name])
        if tensor.name not in old or name in new:
            kept.append(tensor)
    there = {tensor.name for tensor in kept} | set(renamed.values())
    for index, name in enumerate(new):
        if name not in old and name not in there:
            kept.insert(index, _new(stated, new[name]))
    _replace(stated, kept)
    return renamed


def _renamed(old: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    """The tensors that are called otherwise now: those in the same place, where the names before are gone."""
    if len(old) != len(new):
        return {}
    return {before: after for before, after in zip(old, new, strict=True) if before not in new and after not in old}


def _follow(tensor: Any, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    tensor.name = new["name"]
    if tensor.data_type == _data_type(old["dtype"]):
        tensor.data_type = _data_type(new["dtype"])
    if list(tensor.dims) == old["dims"]:
        tensor.dims[:] = new["dims"]
    # A manifest of before says nothing of labels.
    if "labels" in old and old["labels"] != new["labels"]:
        if new["labels"]:
            tensor.label_filename = tensor.label_filename or samples.LABELS
        elif tensor.label_filename == samples.LABELS:
            tensor.label_filename = ""


def _new(stated: Any, described: Mapping[str, Any]) -> Any:
    tensor = type(stated[0])(name=described["name"], data_type=_data_type(described["dtype"]), dims=described["dims"])
    if described.get("labels"):
        tensor.label_filename = samples.LABELS
    return tensor


def _replace(stated: Any, tensors: Sequence[Any]) -> None:
    copies = []
    for tensor in tensors:
        copy = type(tensor)()
        copy.CopyFrom(tensor)
        copies.append(copy)
    del stated[:]
    stated.extend(copies)


def _data_type(dtype: str) -> int:
    number: int = model_config_pb2.DataType.Value(config.data_type(Tensor("", dtype, ())))
    return number


def _warmup(
    target: Any,
    before: Sequence[Mapping[str, Any]],
    now: Sequence[Mapping[str, Any]],
    renamed: Mapping[str, str],
    fresh: Mapping[str, Tensor],
) -> None:
    """Makes the build's own samples, which read a file of the input's name, follow the inputs that changed."""
    if not fresh:
        return
    old = {tensor["name"] for tensor in before}
    changed = {tensor["name"] for tensor in before if tensor not in now}
    for sample in target.model_warmup:
        ours = [name for name in sample.inputs if name in old and sample.inputs[name].input_data_file == name]
        for name in changed.intersection(ours):
            del sample.inputs[name]
            if tensor := fresh.get(renamed.get(name, name)):
                _sample(sample, tensor)
        for name in fresh.keys() - old - set(sample.inputs) if ours else ():
            _sample(sample, fresh[name])


def _sample(sample: Any, tensor: Tensor) -> None:
    stated = sample.inputs[tensor.name]
    stated.data_type = _data_type(tensor.dtype)
    stated.dims[:] = tensor.config_dims
    stated.input_data_file = tensor.name


def _steps(stated: Any, before: Sequence[Mapping[str, Any]] | None, now: Sequence[Mapping[str, Any]]) -> None:
    """Makes the steps of an ensemble follow, where they are those of the version before."""
    if before is None or [step.model_name for step in stated.step] != [step["model"] for step in before]:
        return
    known = list(zip(stated.step, before, strict=True))
    steps = []
    for new in now:
        found = next((pair for pair in known if pair[0].model_name == new["model"]), None)
        step = model_config_pb2.ModelEnsembling.Step(model_name=new["model"], model_version=-1)
        if found is not None:
            known.remove(found)
            step.CopyFrom(found[0])
        for name in ("input_map", "output_map"):
            mapped = getattr(step, name)
            if found is None or dict(mapped) == found[1][name]:
                mapped.clear()
                mapped.update(new[name])
        steps.append(step)
    _replace(stated.step, steps)


def difference(path: Path, before: str, after: str) -> str:
    """A unified diff of a config, for people; empty where nothing differs."""
    lines = difflib.unified_diff(
        _shown(before).splitlines(), _shown(after).splitlines(), str(path), f"{path} (the artefact's)", lineterm="", n=2
    )
    return "\n".join(lines)


def _shown(text: str) -> str:
    """A text that can be printed: what is not UTF-8 in it is replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
