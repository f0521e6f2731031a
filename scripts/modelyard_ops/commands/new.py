"""`modelyard new`: anyone's PyTorch model to a declaration that `modelyard build` takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from modelyard_ops.building import ConsoleProgress
from modelyard_ops.console import stdout
from modelyard_ops.paths import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from modelyard_build.adoption.adopting import Adopted
    from modelyard_build.adoption.inspection import Inspected
    from modelyard_build.adoption.origin import Wish
    from modelyard_build.model import Tensor


def new(
    name: Annotated[str, typer.Argument(help="What the model is to be called in Triton.")],
    origin: Annotated[
        str, typer.Option("--from", help="net.py, net.py:Class, net.py:factory, or another kind of origin.")
    ],
    weights: Annotated[Path | None, typer.Option(help="Its weights: .safetensors, or .pt with tensors alone.")] = None,
    example: Annotated[
        Path | None, typer.Option(help="Real inputs: a .npz with an array for each, the batch first.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="An input, where there is no example: x:FP32[16,length], ids:INT64(0..99)[8]."),
    ] = None,
    class_: Annotated[str, typer.Option("--class", help="What to load the origin as.")] = "",
    repository: Annotated[Path, typer.Option(help="The model repository; made when missing.")] = DEFAULT_REPOSITORY,
) -> None:
    """Take a PyTorch model: find out what it takes and answers, try to export it, and write its declaration.

    Writes build/modelyard_build/models/NAME.py, its line in models/__init__.py, and config.pbtxt; nothing where
    anything is wrong. `modelyard build NAME` then makes, proves and publishes it.
    """
    from modelyard_build.adoption.names import check_name

    check_name(name)
    wish = _wish(name, origin, weights, example, inputs or [], class_)
    from modelyard_build.adoption.adopting import adopt

    adopted = adopt(wish, repository, ConsoleProgress())
    _show(name, adopted)


def _wish(
    name: str, origin: str, weights: Path | None, example: Path | None, inputs: list[str], architecture: str
) -> Wish:
    from modelyard_build.adoption.input_specs import parse
    from modelyard_build.adoption.origin import Wish

    specs = [parse(text) for text in inputs]
    return Wish(
        name=name,
        origin=origin,
        weights=weights,
        example=example,
        inputs={spec.name: (spec.dtype, spec.dims) for spec in specs},
        architecture=architecture,
        draws={spec.name: spec.draw for spec in specs if spec.draw},
        limits={limit: found for spec in specs for limit, found in spec.limits.items()},
    )


def _show(name: str, adopted: Adopted) -> None:
    stdout.print(_table(adopted.inspected))
    for note in (*adopted.inspected.notes, *adopted.inspected.proven):
        stdout.print(f"- {note}", markup=False, soft_wrap=True)
    if adopted.fallback:
        stdout.print(f"[yellow]not exported:[/yellow] {escape(adopted.fallback)}", soft_wrap=True)
        stdout.print("It is served as it is instead, by Triton's Python backend.", soft_wrap=True)
    for path in adopted.written:
        stdout.print(f"wrote {path}", markup=False, soft_wrap=True)
    if not adopted.written:
        stdout.print(f"{adopted.declaration} says the same already: nothing to do", markup=False, soft_wrap=True)
    stdout.print(f"[green]next: modelyard build {name}[/green]", soft_wrap=True)


def _table(inspected: Inspected) -> Table:
    table = Table("", "name", "dtype", "dims without the batch", box=None, pad_edge=False, header_style="dim")
    for role, tensors in (("input", inspected.inputs), ("output", inspected.outputs)):
        for tensor in tensors:
            table.add_row(role, tensor.name, tensor.dtype, _dims(tensor))
    most = inspected.max_batch_size
    table.add_row("batch", "", "", f"1 to {most}" if most else "none")
    return table


def _dims(tensor: Tensor) -> str:
    dims = (dim if isinstance(dim, int) else f"{dim.name} {dim.min} to {dim.max}" for dim in tensor.dims)
    return ", ".join(map(str, dims))
