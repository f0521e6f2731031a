"""What a module returns, as a list of tensors, each with its place in it: nested dicts, lists, dataclasses and all.

A place is written as Python would reach it: `logits`, `states[1]`, `[0]`; nothing for a plain tensor.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch


def leaves(answer: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor, and everything else that holds no further values, in order. None is no answer.

    Args:
        answer: what forward returned.
        place: where it stands.
    """
    if answer is None:
        return
    if isinstance(answer, torch.Tensor):
        yield place, answer
        return
    inner = _inner(answer)
    if inner is None:
        yield place, answer
        return
    for step, value in inner:
        yield from leaves(value, _join(place, step))


def _inner(answer: Any) -> list[tuple[str | int, Any]] | None:
    """The values that something holds, by key, field or position; None where it holds none."""
    if isinstance(answer, Mapping):
        return [(str(key), value) for key, value in answer.items()]
    if isinstance(answer, tuple) and (fields := getattr(answer, "_fields", ())):
        return list(zip(fields, answer, strict=True))
    if isinstance(answer, list | tuple):
        return list(enumerate(answer))
    if dataclasses.is_dataclass(answer):
        return [(field.name, getattr(answer, field.name)) for field in dataclasses.fields(answer)]
    return None


def _join(place: str, step: str | int) -> str:
    if isinstance(step, int):
        return f"{place}[{step}]"
    return f"{place}.{step}" if place else step


def name_of(place: str) -> str:
    """A name for a tensor of an ensemble, a config and a graph: letters, digits and underscores."""
    words = re.sub(r"\W+", "_", place, flags=re.ASCII).strip("_")
    return f"output_{words}" if words[:1].isdigit() else words or "output"
