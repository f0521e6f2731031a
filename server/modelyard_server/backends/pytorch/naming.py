"""Which tensor of config.pbtxt is which argument and which output of a PyTorch model.

https://github.com/triton-inference-server/pytorch_backend has three conventions for TorchScript: the names of
`forward`'s arguments (inputs only), ``<name>__<index>``, and the order of config.pbtxt. A PT2 archive names its tensors
by the structure of the call: ``ARGS[0]``, ``KWARGS[mask]``, ``RESULT[logits]``; or by their place, ``INPUT__0``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard_server.backend_support.errors import ModelLoadError

Places = dict[str, int]

_STRUCTURES = {"builtins.tuple", "builtins.list", "builtins.dict"}


def argument_places(
    inputs: Sequence[str], more: Sequence[str], controls: Sequence[str], arguments: Sequence[str], artefact: str
) -> Places:
    """The place of each input among the arguments of TorchScript's `forward`.

    Args:
        inputs: The `input` names of config.pbtxt, in order; they choose the convention.
        more: The `batch_input` targets, in order.
        controls: The sequence controls, whose names must end in ``__<index>``.
        arguments: The names of the arguments, in order.
        artefact: What messages call the file.

    Raises:
        ModelLoadError: The names do not cover the arguments, each once.
    """
    places = {**_input_places(inputs, more, arguments), **{name: _control_index(name) for name in controls}}
    if sorted(places.values()) != list(range(len(arguments))):
        raise ModelLoadError(
            f"the inputs of config.pbtxt are arguments {_shown(places)} of forward({', '.join(arguments)}) in "
            f"{artefact}, expected each of 0 to {len(arguments) - 1} once: call the inputs as the arguments, or "
            "<name>__<index>"
        )
    return places


def output_places(outputs: Sequence[str]) -> Places:
    """The place of each output of config.pbtxt among those of TorchScript's `forward`: by index, or by order."""
    indices = [_index(name) for name in outputs]
    if None in indices:
        return {name: place for place, name in enumerate(outputs)}
    return {name: index for name, index in zip(outputs, indices, strict=True) if index is not None}


def call_names(call_spec: Sequence[str], artefact: str) -> tuple[list[str], list[str]]:
    """The names of a PT2 archive's inputs and outputs, in the order in which they are passed.

    Args:
        call_spec: The two call specifications of the archive, as JSON.
        artefact: What messages call the file.

    Raises:
        ModelLoadError: They hold something else than tuples, lists, dictionaries and tensors.
    """
    inputs, outputs = (_parsed(text, artefact) for text in call_spec)
    arguments, keywords = inputs["children_spec"]
    names = _leaves("ARGS", arguments, artefact) + _leaves("KWARGS", keywords, artefact)
    return names, _leaves("RESULT", outputs, artefact)


def archive_places(names: Sequence[str], structure: Sequence[str], ordinal: str, artefact: str) -> Places:
    """The place of each tensor of config.pbtxt in a PT2 archive.

    Args:
        names: Of config.pbtxt.
        structure: The archive's names, in order.
        ordinal: ``INPUT`` or ``OUTPUT``.
        artefact: What messages call the file.

    Raises:
        ModelLoadError: A name is neither of the two that a tensor has.
    """
    known = {name: place for place, name in enumerate(structure)}
    known.update({f"{ordinal}__{place}": place for place in range(len(structure))})
    for name in names:
        if name not in known:
            raise ModelLoadError(
                f"config.pbtxt lists {ordinal.lower()} '{name}', and {artefact} has {', '.join(known)}: rename it"
            )
    return {name: known[name] for name in names}


def _input_places(inputs: Sequence[str], more: Sequence[str], arguments: Sequence[str]) -> Places:
    names = [*inputs, *more]
    if all(name in arguments for name in inputs):
        return {name: arguments.index(name) if name in arguments else -1 for name in names}
    indices = [_index(name) for name in inputs]
    if None in indices:
        return {name: place for place, name in enumerate(names)}
    return {name: -1 if (index := _index(name)) is None else index for name in names}


def _index(name: str) -> int | None:
    """What stands behind the first ``__``, where that is a number."""
    _, separator, text = name.partition("__")
    return int(text) if separator and text.isascii() and text.isdigit() else None


def _control_index(name: str) -> int:
    index = _index(name)
    if index is None:
        raise ModelLoadError(f"sequence control '{name}' is not named <name>__<index>: rename it, and the input")
    return index


def _shown(places: Mapping[str, int]) -> str:
    return ", ".join(f"'{name}' {'none' if place < 0 else place}" for name, place in places.items())


def _parsed(text: str, artefact: str) -> Any:
    try:
        return json.loads(text)[1]
    except (ValueError, LookupError, TypeError):
        raise ModelLoadError(f"{artefact} has a call specification that cannot be read: compile it again") from None


def _leaves(prefix: str, node: Mapping[str, Any], artefact: str) -> list[str]:
    """The names of the tensors below a node, depth first; a node without a type is a tensor."""
    if node["type"] is None:
        return [prefix]
    if node["type"] not in _STRUCTURES:
        raise ModelLoadError(
            f"{prefix} of {artefact} is a {node['type']}, expected tensors in tuples, lists and dictionaries: export "
            "the model with these"
        )
    keys = json.loads(node["context"]) if node["type"] == "builtins.dict" else range(len(node["children_spec"]))
    return [
        name
        for key, child in zip(keys, node["children_spec"], strict=True)
        for name in _leaves(f"{prefix}[{key}]", child, artefact)
    ]
