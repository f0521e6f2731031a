"""The file that declares an adopted model, for a person to read and to edit."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping

from modelyard_build.adoption.inspection import Inspected
from modelyard_build.adoption.origin import Draw, Opened, Wish
from modelyard_build.model import Axis, Tensor
from modelyard_build.packages import HubModel

# An example with fewer items has none to spare for calibration.
LEAST_FOR_CALIBRATION = 8
_WIDTH = 120


def render(wish: Wish, opened: Opened, inspected: Inspected) -> str:
    """The text of `models/NAME.py`.

    Args:
        wish: what the user said.
        opened: what it was opened as.
        inspected: what was found out of it.
    """
    parts = [
        _imports(opened, inspected),
        *constants(opened, inspected),
        _load(opened, inspected),
        examples_function(opened),
        _model(wish, opened, inspected),
    ]
    return "\n\n".join([_head(wish, opened, inspected), "\n".join(["from __future__ import annotations", "", *parts])])


def calibrates(opened: Opened) -> bool:
    """Whether the example is real data, of which some can be kept for calibration."""
    items = min(len(array) for array in opened.example.values())
    return bool(opened.example_asset) and items >= LEAST_FOR_CALIBRATION


def summary_of(wish: Wish, opened: Opened) -> str:
    """One line for people."""
    return opened.summary or f"taken from {wish.origin}"


def _head(wish: Wish, opened: Opened, inspected: Inspected) -> str:
    first = f'"""`{wish.name}`: {summary_of(wish, opened)}.'
    facts = [line for note in inspected.notes for line in _bullet(note)]
    if not facts:
        return f'{first}"""'
    return "\n".join([first, "", f"What `modelyard new --from {wish.origin}` found:", "", *facts, '"""'])


def _bullet(note: str) -> list[str]:
    text = note.replace("\\", "/").replace('"""', "'''")
    return textwrap.wrap(f"- {text}.", _WIDTH, subsequent_indent="  ", break_long_words=False)


def _imports(opened: Opened, inspected: Inspected) -> str:
    tensors = (*inspected.inputs, *inspected.outputs)
    axis = "Axis, " if any(isinstance(dim, Axis) for tensor in tensors for dim in tensor.dims) else ""
    batching = "DynamicBatching, " if inspected.max_batch_size else ""
    draw = "from modelyard_build.adoption.origin import Draw\n" if opened.draws else ""
    hub = "from modelyard_build.packages import HubModel\n" if opened.pinned else ""
    return f"""\
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard_build.adoption.drawing import drawn
{draw}from modelyard_build.assets import {_asset_kinds(opened)}
from modelyard_build.model import Arrays, {axis}{batching}Model, Tensor
{hub}
if TYPE_CHECKING:
    from torch import nn
"""


def constants(opened: Opened, inspected: Inspected) -> Iterable[str]:
    """What a person edits: files, sizes, names."""
    for hub in dict.fromkeys(asset.package for asset in opened.pinned.values()):
        assert isinstance(hub, HubModel)  # noqa: S101  # what origins pin their files by
        yield f"HUB = HubModel({_text(hub.name)}, {_text(hub.revision)})"
    yield "# A change of any of these files makes a new version."
    yield _dict("ASSETS", {name: _asset(name, opened) for name in opened.assets})
    if not opened.example_asset:
        yield "# Inputs to draw others from, items along the first dimension."
        yield 'EXAMPLE = Path(__file__).with_suffix(".npz")'
    if opened.draws:
        yield "# Which values inputs take; one that is not named varies around the example."
        yield _dict("DRAWS", {name: _draw(draw) for name, draw in opened.draws.items()})
    yield ""
    for axis in inspected.axes:
        yield f"{_constant(axis)} = {_axis(axis)}"
    yield _tuple("INPUTS", [_tensor(tensor, inspected.axes) for tensor in inspected.inputs])
    for tensor in inspected.outputs:
        if tensor.labels:
            yield f"{_labels(tensor)} = ({_wrapped(map(_text, tensor.labels))})"
    yield _tuple("OUTPUTS", [_tensor(tensor, inspected.axes) for tensor in inspected.outputs])
    if not opened.graph:
        yield "# Where each output stands in what the module returns: nothing for the tensor itself, states[1], logits."
        yield _dict("PLACES", {name: _text(place) for name, place in inspected.places.items()})
    yield ""


def _load(opened: Opened, inspected: Inspected) -> str:
    if opened.graph:
        return f"""
def load(files: Mapping[str, Path]) -> nn.Module:
    \"\"\"What the graph means, which everything that is made of it is held against.\"\"\"
{textwrap.indent(opened.load.strip(), "    ")}

"""
    batch = f", batch={_literal(inspected.batch_at)}" if inspected.batch_at else ""
    numbers = f", numbers={_literal(list(inspected.numbers))}" if inspected.numbers else ""
    return f"""
def original(files: Mapping[str, Path]) -> nn.Module:
    \"\"\"The module as its author wrote it.\"\"\"
{textwrap.indent(opened.load.strip(), "    ")}


def load(files: Mapping[str, Path]) -> nn.Module:
    \"\"\"The module with the inputs and outputs that are declared here.\"\"\"
    from modelyard_build.adoption.adapter import adapt

    return adapt(original(files), [tensor.name for tensor in INPUTS], PLACES{batch}{numbers})

"""


def examples_function(opened: Opened) -> str:
    """`examples`, and `calibration` where the example has items to spare."""
    example = f'files["{opened.example_asset}"]' if opened.example_asset else "EXAMPLE"
    draws = "DRAWS" if opened.draws else "{}"
    call = f"drawn({example}, INPUTS, {draws}, batch, sizes"
    rows = ", slice(0, None, 2)" if calibrates(opened) else ""
    text = f"""\
def examples(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    \"\"\"Items of the example, cut or repeated to any size; further ones vary around them.\"\"\"
    return {call}{rows})

"""
    if rows:
        text += f"""
def calibration(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    \"\"\"The other half of the example, for int8 to take its ranges from.\"\"\"
    return {call}, slice(1, None, 2))

"""
    return text


def _model(wish: Wish, opened: Opened, inspected: Inspected) -> str:
    lines = [
        f"name={_text(wish.name)},",
        f"summary={_text(summary_of(wish, opened))},",
        "load=load,",
        "inputs=INPUTS,",
        "outputs=OUTPUTS,",
        "examples=examples,",
        *(["calibration=calibration,"] if calibrates(opened) else []),
        "assets=ASSETS,",
        *([f"graph={_text(opened.graph)},"] if opened.graph else []),
        *_batching(inspected.max_batch_size),
    ]
    return "\n".join(["MODEL = Model(", *(f"    {line}" for line in lines), ")", "", "MODELS = (MODEL,)", ""])


def _batching(most: int) -> list[str]:
    if not most:
        return [
            "# The graph has no batch dimension: each request runs on its own, and dims are the whole shape.",
            "max_batch_size=0,",
            "dynamic_batching=None,",
        ]
    return [
        "# The largest batch that is proven and served.",
        f"max_batch_size={most},",
        f"optimum_batch_size={min(8, most)},",
        "dynamic_batching=DynamicBatching(",
        "    max_queue_delay_microseconds=2_000, max_queue_size=1024, default_timeout_microseconds=30_000_000",
        "),",
    ]


def _asset_kinds(opened: Opened) -> str:
    kinds = {"LocalAsset" if name not in opened.pinned else "PinnedAsset" for name in opened.assets}
    return ", ".join(sorted(kinds))


def _asset(name: str, opened: Opened) -> str:
    pinned = opened.pinned.get(name)
    if pinned is None:
        return f"LocalAsset(Path({_text(str(opened.assets[name]))}))"
    return f"PinnedAsset(HUB, {_text(pinned.member)}, {_text(pinned.sha256)})"


def _draw(draw: Draw) -> str:
    return "Draw(ones=True)" if draw.ones else f"Draw(low={draw.low}, high={draw.high})"


def _axis(axis: Axis) -> str:
    optimum = f", optimum={axis.optimum}" if axis.optimum is not None else ""
    return f"Axis({_text(axis.name)}, min={axis.min}, max={axis.max}{optimum})"


def _constant(axis: Axis) -> str:
    return axis.name.upper()


def _tensor(tensor: Tensor, axes: list[Axis]) -> str:
    dims = [_dim(dim, axes) for dim in tensor.dims]
    comma = "," if len(dims) == 1 else ""
    labels = f", labels={_labels(tensor)}" if tensor.labels else ""
    return f"Tensor({_text(tensor.name)}, {_text(tensor.dtype)}, ({', '.join(dims)}{comma}){labels})"


def _labels(tensor: Tensor) -> str:
    """The constant that holds an output's labels."""
    return f"{tensor.name.upper()}_LABELS"


def _wrapped(values: Iterable[str]) -> str:
    """Values with commas between them: in one line, or as many on each as it holds."""
    lines = [""]
    for value in values:
        if len(lines[-1]) + len(value) > _WIDTH - 20:
            lines.append("")
        lines[-1] += f" {value}," if lines[-1] else f"{value},"
    whole = lines[0].removesuffix(",") if lines[0].count(",") > 1 else lines[0]
    return whole if len(lines) == 1 else "\n" + textwrap.indent("\n".join(lines), "    ") + "\n"


def _dim(dim: int | Axis, axes: list[Axis]) -> str:
    if isinstance(dim, int):
        return str(dim)
    return _constant(dim) if dim in axes else _axis(dim)


def _tuple(name: str, values: list[str]) -> str:
    if len(values) == 1:
        return f"{name} = ({values[0]},)"
    return "\n".join([f"{name} = (", *(f"    {value}," for value in values), ")"])


def _dict(name: str, values: Mapping[str, str]) -> str:
    line = f"{name} = {{{', '.join(f'{_text(key)}: {value}' for key, value in values.items())}}}"
    if len(line) <= _WIDTH - 20:
        return line
    return "\n".join([f"{name} = {{", *(f"    {_text(key)}: {value}," for key, value in values.items()), "}"])


def _literal(value: Mapping[str, int] | list[str]) -> str:
    return json.dumps(value)


def _text(value: str) -> str:
    """A string as ruff would write it."""
    return json.dumps(value, ensure_ascii=False)
