"""A program of torch.export as a module that the build takes like any other: named tensors in, its own weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from modelyard_build.adoption import program_archive
from modelyard_build.errors import AdoptionFailed


class Program(nn.Module):
    """Calls a program's graph with its inputs by name, in the order in which it takes them."""

    def __init__(self, graph: fx.GraphModule, names: Sequence[str], constants: Mapping[str, Any] | None = None) -> None:
        """Takes the graph over.

        Args:
            graph: what `ExportedProgram.module` gives.
            names: its arguments, in order; `constants` stand among them.
            constants: arguments that are no tensors, with their values.
        """
        super().__init__()
        # The graph of a program refuses eval(); its copy is an ordinary module.
        self.graph_module = fx.GraphModule(graph, graph.graph)
        self.names = tuple(names)
        self.constants = dict(constants or {})
        self.requires_grad_(False).eval()

    def forward(self, **inputs: torch.Tensor) -> Any:
        """What the program returns."""
        given = {**inputs, **self.constants}
        return self.graph_module(*(given[name] for name in self.names))


def module_of(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The graph with its weights. Sizes are not checked when it runs: the declaration says which are served."""
    return program.module(check_guards=False)


def load_program(path: Path) -> nn.Module:
    """The module of an archive of torch.export.save; for declarations.

    Raises:
        AdoptionFailed: see `program_archive.load`.
    """
    return named(program_archive.load(path))


def named(program: torch.export.ExportedProgram) -> Program:
    """The module of a program, its inputs called as the program calls them."""
    return Program(module_of(program), input_names(program))


def input_names(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    """The names of what a caller gives, in order.

    Raises:
        AdoptionFailed: the program takes something else than tensors, or tensors within lists or dicts.
    """
    names = program.graph_signature.user_inputs
    arguments, by_keyword = program.call_spec.in_spec.children()
    flat = arguments.num_children + by_keyword.num_children
    if flat != len(names) or not all(isinstance(name, str) and name in _tensors(program) for name in names):
        raise AdoptionFailed(
            f"the program takes {', '.join(map(str, names)) or 'nothing'}; expected is one tensor for each argument. "
            "Export a module whose forward takes tensors alone: no numbers, lists or dicts."
        )
    return tuple(map(str, names))


def shapes_of(program: torch.export.ExportedProgram) -> dict[str, tuple[int | str, ...]]:
    """The sizes of each input: a number, or the symbol of one that varies."""
    tensors = _tensors(program)
    return {
        name: tuple(size if isinstance(size, int) else str(size) for size in tensors[name].shape)
        for name in input_names(program)
    }


def _tensors(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    values = {node.name: node.meta.get("val") for node in program.graph.find_nodes(op="placeholder")}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
