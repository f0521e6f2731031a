"""MY246 to MY248: the tensors of config.pbtxt against `forward` of a TorchScript module, and what PT2 archives take.

The conventions are those of triton-inference-server/pytorch_backend: inputs are called as the arguments of `forward`,
or `<name>__<index>`, or stand in their order; outputs are `<name>__<index>`, or stand in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelyard_build.repository.lint.artefacts import Artefact
from modelyard_build.repository.lint.artefacts.pytorch import TORCHSCRIPT
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.headers import artefacts, once
from modelyard_build.repository.lint.rules.tensor_texts import INVALID, dtype_name, stated_tensors
from modelyard_build.repository.lint.subjects import Config

_TENSOR, _STRINGS, _STRING = "Tensor", "List[str]", "TYPE_STRING"
_NO_OUTPUT = ("Dict[", "List[Tensor]", "int", "float", "bool", "str", "NoneType", "None")
Arguments = Sequence[tuple[str, str]]


@rule(
    "MY246",
    Severity.ERROR,
    summary="the inputs are not the arguments of forward",
    mend="Call the inputs as the arguments of forward, or <name>__<index>, each once.",
    verdict=Verdict.REFUSES,
)
def inputs_are_not_arguments(config: Config) -> Findings:
    """TorchScript is called with one tensor for each argument of `forward`.

    The names of the inputs say which is which: those of the arguments; or `INPUT__0`, `INPUT__1`; or, where neither
    fits, their order.
    """
    return once(
        (config.raised(f"{problem}", *path) for problem, path in _argument_problems(config, title, artefact))
        for title, artefact in _scripts(config)
    )


@rule(
    "MY247",
    Severity.ERROR,
    summary="the outputs are not what forward returns",
    mend="Call the outputs <name>__<index>, from 0, or list them in the model's order.",
    verdict=Verdict.REFUSES,
)
def outputs_are_not_returned(config: Config) -> Findings:
    """An output called `OUTPUT__1` is the second that `forward` returns; without such names the order counts.

    What is returned must be a Tensor, a `List[str]`, or a tuple of these: no dictionary and no list of tensors.
    """
    return once(
        (config.raised(f"{problem}", *path) for problem, path in _return_problems(config, title, artefact))
        for title, artefact in _scripts(config)
    )


@rule(
    "MY248",
    Severity.ERROR,
    summary="a PT2 archive with sequences or strings",
    mend="Serve TorchScript, or remove them.",
    verdict=Verdict.REFUSES,
)
def archive_takes_numbers_only(config: Config) -> Findings:
    """The pytorch backend serves compiled archives without `sequence_batching`, and with numbers only."""
    if config.backend != "pytorch" or not config.filename.endswith(".pt2"):
        return
    if config.message.HasField("sequence_batching"):
        yield config.raised("a PT2 archive serves no sequence_batching; serve TorchScript", "sequence_batching")
    for tensor in stated_tensors(config):
        if dtype_name(tensor.message.data_type) == _STRING:
            yield config.raised(
                f"{tensor} is {_STRING}, which a PT2 archive does not take; send numbers", *tensor.path, "data_type"
            )


Path = tuple[str | int, ...]
Problem = tuple[str, Path]


def _scripts(config: Config) -> Iterator[tuple[str, Artefact]]:
    """The TorchScript whose `forward` could be read."""
    if config.backend == "pytorch":
        for title, artefact in artefacts(config):
            if artefact.details.get("kind") == TORCHSCRIPT and "arguments" in artefact.details:
                yield title, artefact


def _argument_problems(config: Config, title: str, artefact: Artefact) -> Iterator[Problem]:
    message = config.message
    arguments: Arguments = artefact.details["arguments"]
    if not message.input or (len(arguments) == 1 and arguments[0][1].startswith("Dict[")):
        return
    signature = f"forward({', '.join(name for name, _ in arguments)}) of {title}"
    for name, kind in arguments:
        if kind not in (_TENSOR, _STRINGS):
            yield f"argument {name!r} of {signature} is {kind}, expected Tensor or List[str]; script it so", ("input",)
            return
    controls = list(message.sequence_batching.control_input)
    given = len(message.input) + len(message.batch_input) + len(controls)
    if given != len(arguments):
        yield (
            f"{given} inputs are listed (with batch_input and control_input), and {signature} takes {len(arguments)}",
            ("input",),
        )
        return
    places = _places(message, arguments)
    if sorted(places) != list(range(len(arguments))):
        yield (
            f"the inputs are the arguments {', '.join(map(_shown, places))} of {signature}, expected each of 0 to "
            f"{len(arguments) - 1} once; call them as the arguments, or <name>__<index>",
            ("input",),
        )
        return
    yield from _type_problems(config, places, arguments, signature)


def _shown(place: int) -> str:
    return "none" if place < 0 else str(place)


def _places(message: Any, arguments: Arguments) -> list[int]:
    """Which argument each input is, then each batch_input, then each control; -1: none."""
    names = [str(tensor.name) for tensor in message.input]
    more = [str(name) for entry in message.batch_input for name in entry.target_name]
    known = [name for name, _ in arguments]
    if all(name in known for name in names):
        places = [known.index(name) if name in known else -1 for name in (*names, *more)]
    elif any(_index(name) < 0 for name in names):
        places = list(range(len(names) + len(more)))
    else:
        places = [_index(name) for name in (*names, *more)]
    return places + [_index(str(control.name)) for control in message.sequence_batching.control_input]


def _index(name: str) -> int:
    """What stands behind the first `__`, where that is a number; otherwise -1."""
    _, separator, text = name.partition("__")
    return int(text) if separator and text.isascii() and text.isdigit() and len(text) < 9 else -1


def _type_problems(config: Config, places: list[int], arguments: Arguments, signature: str) -> Iterator[Problem]:
    for tensor in stated_tensors(config):
        if tensor.kind != "input" or tensor.message.data_type == INVALID:
            continue
        name, kind = arguments[places[tensor.index]]
        is_string = dtype_name(tensor.message.data_type) == _STRING
        if is_string != (kind == _STRINGS):
            yield (
                f"{tensor} is {dtype_name(tensor.message.data_type)}, and argument {name!r} of {signature} is {kind}; "
                "strings go with List[str], all else with Tensor",
                (*tensor.path, "data_type"),
            )


def _return_problems(config: Config, title: str, artefact: Artefact) -> Iterator[Problem]:
    returns = str(artefact.details["returns"])
    returned = _elements(returns)
    for each in returned:
        if each.startswith(_NO_OUTPUT):
            yield (
                f"forward of {title} returns {returns}, expected Tensor, List[str] or a tuple of these; return the "
                "values as a tuple",
                ("output",),
            )
            return
    if not all(each in (_TENSOR, _STRINGS) for each in returned):
        return
    names = [str(tensor.name) for tensor in config.message.output]
    indices = [_index(name) for name in names]
    places = list(range(len(names))) if any(index < 0 for index in indices) else indices
    for number, place in enumerate(places):
        if place >= len(returned):
            yield (
                f"output {names[number]!r} is number {place} of what forward of {title} returns, and it returns "
                f"{len(returned)}; call it <name>__<index> from 0, or list the outputs in the model's order",
                ("output", number),
            )


def _elements(returns: str) -> list[str]:
    """The types in a tuple, those of a tuple alone."""
    if not returns.startswith("Tuple["):
        return [returns]
    parts, depth = [""], 0
    for character in returns[len("Tuple[") : -1]:
        depth += (character == "[") - (character == "]")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
