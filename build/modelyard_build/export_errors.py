"""What torch means when it does not export a module, in a few sentences instead of a page of frames."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from modelyard_build.export_guards import Guard, Guards, Place, is_foreign, place_of
from modelyard_build.module_checks import first_line

PYTHON_MODEL = "serve the module as a PythonModel"
_FRAME = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+), in [^\n]*\n\s*(?P<code>[^\n]*)')


def in_words(error: BaseException, guards: Guards) -> str:
    """Why the export failed: what, where in the module's code, and what to do.

    Args:
        error: what torch.onnx.export raised.
        guards: the conditions on sizes that came up until then.
    """
    chain = list(_chain(error))
    node = _failing_node(chain)
    violated = guards.violated()
    if any(isinstance(cause, GuardOnDataDependentSymNode) for cause in chain):
        return _data_dependent(_first_place(chain))
    if node is not None:
        return _operator(node, chain[-1])
    if violated:
        return narrowed(*violated)
    place = _first_place(chain)
    return f"PyTorch could not trace the module{_at(place)}: {first_line(chain[-1])}. Mend forward, or {PYTHON_MODEL}."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """From the outermost error to the cause: the exporter wraps the sentence that helps in several that do not."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _first_place(chain: list[BaseException]) -> Place | None:
    return next((place for error in reversed(chain) if (place := place_of(error.__traceback__))), None)


def _at(place: Place | None) -> str:
    return f" at {place}" if place else ""


def _data_dependent(place: Place | None) -> str:
    return (
        f"the Python code{_at(place)} depends on the value of a tensor (data-dependent control flow), which is known "
        "only at run time; a graph holds one path for all values. Choose with torch.where or torch.cond, keep values "
        f"in tensors instead of .item(), int() or bool(), or {PYTHON_MODEL}."
    )


def narrowed(guard: Guard, at: dict[str, int]) -> str:
    """A line that holds for some of the declared sizes only."""
    axes = " and ".join(repr(axis) for axis in at)
    example = ", ".join(f"{axis} {size}" for axis, size in at.items())
    return (
        f"the code at {guard.place} fixes or narrows axis {axes}: it holds only where {guard.condition}, so not at "
        f"{example}, which is declared. Take sizes from the tensor (x.shape[0], or -1 in reshape) without if, for or "
        "int() over them, or declare the dimension as it is."
    )


def _operator(node: torch.fx.Node, cause: BaseException) -> str:
    place = _place_of_node(node)
    name = str(node.target).removesuffix(".default")
    reason = "has no ONNX form" if "No ONNX function" in str(cause) else f"has no ONNX form here: {first_line(cause)}"
    return (
        f"operator {name}{_at(place)} {reason}. Replace it with operators that export, pass its ONNX form in "
        f"`translations` (torch.onnx.export's custom_translation_table), or {PYTHON_MODEL}."
    )


def _failing_node(chain: list[BaseException]) -> torch.fx.Node | None:
    """The operator that torch.onnx was translating when it gave up: it is in the frames only, not in the error."""
    for error in chain:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            node = frame.f_locals.get("node")
            if isinstance(node, torch.fx.Node) and "_translate_fx_graph" in frame.f_code.co_name:
                return node
    return None


def _place_of_node(node: torch.fx.Node) -> Place | None:
    """The innermost line of the module's own code that torch noted for an operator."""
    noted = _FRAME.finditer(str(node.meta.get("stack_trace") or ""))
    places = [Place(frame["path"], int(frame["line"]), frame["code"].strip()) for frame in noted]
    return next((place for place in reversed(places) if not is_foreign(place.path)), None)
