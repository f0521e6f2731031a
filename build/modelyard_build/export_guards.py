"""Where tracing took the size of an axis for granted: the line, and the condition that it holds under.

While it traces, torch writes each condition on a symbolic size into its log, at the moment the user's code demands it.
A handler of that log therefore stands on the user's stack. torch.onnx narrows an axis silently when a condition
excludes some of its sizes, so conditions are looked at whether or not the export succeeded.
"""

from __future__ import annotations

import ast
import contextlib
import linecache
import logging
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from modelyard_build.model import Axis, Model

BATCH = "batch"
_LOGGER = "torch.fx.experimental.symbolic_shapes"
_SOURCE = re.compile(r"^L\['(\w+)'\]\.size\(\)\[(\d+)\]$")
# Their frames say nothing to the author of a module.
_LIBRARIES = {"torch", "torchgen", "functorch", "sympy", "numpy", "onnx", "onnx_ir", "onnxscript"}
_FUNCTIONS: dict[str, Any] = {"Max": np.maximum, "Min": np.minimum}
MOST_COMBINATIONS = 1_000_000
_STDLIB = sysconfig.get_paths()["stdlib"]


@dataclass(frozen=True)
class Place:
    """A line of the module's own code.

    Attributes:
        path: the file.
        line: its number, from 1.
        code: its text.
    """

    path: str
    line: int
    code: str

    def __str__(self) -> str:
        """As a compiler would say it: file:line and the code."""
        return f"{self.at}, `{self.code}`"

    @property
    def at(self) -> str:
        """The file, relative to where the command runs, and the line."""
        path = Path(self.path)
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return f"{shown}:{self.line}"


def place_in(frames: Iterator[tuple[FrameType, int]]) -> Place | None:
    """The innermost line of the module's own code; `frames` go from the inside out."""
    for frame, line in frames:
        path = frame.f_code.co_filename
        if not is_foreign(path):
            return Place(path, line, linecache.getline(path, line).strip())
    return None


def place_of(trace: TracebackType | None) -> Place | None:
    """The line of the module's own code from which an exception came."""
    inside_out = reversed(list(traceback.walk_tb(trace)))
    return place_in((frame, line) for frame, line in inside_out if not _is_exporter(frame))


def _is_exporter(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") in ("modelyard_build.export", "modelyard_build.module_checks")


def is_foreign(path: str) -> bool:
    """Whether a file belongs to Python, torch or their like, and not to whoever wrote the module."""
    if path.startswith("<"):
        return True
    parts = Path(path).parts
    package = parts[parts.index("site-packages") + 1] if "site-packages" in parts else ""
    return package.removesuffix(".py") in _LIBRARIES | {"typing_extensions"} or (
        not package and path.startswith(_STDLIB)
    )


def _caller_frames() -> Iterator[tuple[FrameType, int]]:
    """This thread's frames, from the inside out, up to the exporter."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_exporter(frame):
        if frame.f_globals.get("__name__") != __name__:
            yield frame, frame.f_lineno
        frame = frame.f_back


class _Readable(ast.NodeTransformer):
    """Torch's spelling of a condition into Python's: axes by name, Eq(a, b) as a == b."""

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """A symbol becomes its axis."""
        return ast.Name(self._symbols.get(node.id, node.id), ast.Load())

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """A function that Python has an operator for becomes that operator."""
        self.generic_visit(node)
        match node:
            case ast.Call(ast.Name("Eq"), [left, right]):
                return ast.Compare(left, [ast.Eq()], [right])
            case ast.Call(ast.Name("Ne"), [left, right]):
                return ast.Compare(left, [ast.NotEq()], [right])
            case ast.Call(ast.Name("Mod" | "PythonMod"), [left, right]):
                return ast.BinOp(left, ast.Mod(), right)
            case _:
                return node


def readable(condition: str, symbols: Mapping[str, str]) -> str:
    """A condition as Python writes it, such as `sequence % 2 == 1`; as it stands where it is no Python.

    Args:
        condition: torch's spelling, such as `Eq(Mod(s70, 2), 1)`.
        symbols: the axis behind each symbol.
    """
    try:
        tree = ast.parse(condition, mode="eval")
    except SyntaxError:
        return condition
    return ast.unparse(ast.fix_missing_locations(_Readable(symbols).visit(tree)))


@dataclass(frozen=True)
class Guard:
    """A condition on sizes, and the line that demands it.

    Attributes:
        condition: a Python expression over the names of axes.
        place: the line.
    """

    condition: str
    place: Place

    @property
    def axes(self) -> list[str]:
        """The axes that the condition speaks of; anything that is no axis stands among them too."""
        try:
            nodes = ast.walk(ast.parse(self.condition, mode="eval"))
        except SyntaxError:
            return []
        return sorted({node.id for node in nodes if isinstance(node, ast.Name)} - _FUNCTIONS.keys())

    def fails_at(self, sizes: Mapping[str, range]) -> dict[str, int]:
        """Declared sizes for which the condition does not hold; empty when it holds for all.

        A size of 1 is left out: torch traces no branch for it, and verification runs it. A condition over anything else
        than the declared axes is passed over, too.
        """
        axes = self.axes
        if not axes or not set(axes) <= sizes.keys():
            return {}
        most = int(MOST_COMBINATIONS ** (1 / len(axes)))
        grid = np.meshgrid(*(_some_of(sizes[axis], most) for axis in axes), indexing="ij")
        names = dict(zip(axes, grid, strict=True))
        # The text is torch's own account of the trace, parsed and written anew; nothing but arithmetic is in reach.
        holds = eval(self.condition, {"__builtins__": {}, **_FUNCTIONS, **names})  # noqa: S307
        failing = np.argwhere(~np.broadcast_to(np.asarray(holds, dtype=bool), grid[0].shape))
        return {axis: int(names[axis][tuple(failing[0])]) for axis in axes} if len(failing) else {}


def _some_of(sizes: range, most: int) -> list[int]:
    """All of them, or so many from both ends."""
    found = [size for size in sizes if size > 1]
    return found if len(found) <= most else [*found[: most // 2], *found[-(most // 2) :]]


class Guards(logging.Handler):
    """Collects the conditions that tracing a model's module brings up."""

    def __init__(self, model: Model) -> None:
        super().__init__(logging.INFO)
        self._model = model
        self._symbols: dict[str, str] = {}
        self._found: list[Guard] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Takes in torch's record of a new symbol or a new condition; any other is passed over."""
        arguments = record.args
        if not isinstance(arguments, tuple) or len(arguments) < 3:
            return
        if str(record.msg).startswith("create_symbol"):
            self._name_symbol(str(arguments[0]), str(arguments[2]))
        elif "[guard added]" in str(record.msg) and "suppressed" not in str(arguments[0]):
            self._add(str(arguments[1]))

    def _name_symbol(self, symbol: str, source: str) -> None:
        match = _SOURCE.match(source)
        batch = (BATCH,) if self._model.max_batch_size else ()
        dims = {tensor.name: (*batch, *tensor.dims) for tensor in self._model.inputs}
        if match and match[1] in dims:
            dim = dims[match[1]][int(match[2])]
            self._symbols[symbol] = dim.name if isinstance(dim, Axis) else str(dim)

    def _add(self, condition: str) -> None:
        place = place_in(_caller_frames())
        if place:
            self._found.append(Guard(readable(condition, self._symbols), place))

    def violated(self) -> tuple[Guard, dict[str, int]] | None:
        """The first condition that some declared size does not fulfil, and such a size of each of its axes."""
        axes = [dim for tensor in self._model.inputs for dim in tensor.dims if isinstance(dim, Axis)]
        sizes = {axis.name: range(axis.min, axis.max + 1) for axis in axes}
        sizes[BATCH] = range(1, self._model.max_batch_size + 1)
        failing = ((guard, guard.fails_at(sizes)) for guard in self._found)
        return next(((guard, at) for guard, at in failing if at), None)


@contextlib.contextmanager
def watched(guards: Guards) -> Iterator[None]:
    """Lets `guards` listen, and keeps everything that torch logs meanwhile off the terminal."""
    known = [logging.getLogger(name) for name in list(logging.Logger.manager.loggerDict) if name.startswith("torch")]
    before = [(logger, logger.handlers, logger.level) for logger in known]
    source = logging.getLogger(_LOGGER)
    propagate = source.propagate
    for logger in known:
        logger.handlers = [logging.NullHandler()]
    source.handlers, source.propagate = [guards], False
    source.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, handlers, old in before:
            logger.handlers = handlers
            logger.setLevel(old)
        source.propagate = propagate
