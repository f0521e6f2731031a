"""What axes are called: as is known, or as people call the dimensions of tensors of that rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelyard_build.adoption.origin import Limit
from modelyard_build.adoption.trials import Group

# By the number of dimensions of an item, those that vary as a rule.
_USUAL = {
    1: ("length",),
    2: ("length", "width"),
    3: ("channels", "height", "width"),
    4: ("channels", "depth", "height", "width"),
}


def name_axes(
    shapes: Mapping[str, Sequence[int]], groups: Sequence[Group], limits: Mapping[str, Mapping[int, Limit]]
) -> dict[Group, str]:
    """A name for each axis, all of them different."""
    names: dict[Group, str] = {}
    for group in groups:
        wanted = _wanted(shapes, group, limits)
        name = wanted if wanted not in names.values() else f"{group[0][0]}_{wanted}"
        names[group] = name if name not in names.values() else f"{name}_{group[0][1]}"
    return names


def _wanted(shapes: Mapping[str, Sequence[int]], group: Group, limits: Mapping[str, Mapping[int, Limit]]) -> str:
    known = next((limits[name][at].name for name, at in group if at in limits.get(name, {})), "")
    name, at = group[0]
    usual = _USUAL.get(len(shapes[name]), ())
    if known:
        return known
    # Series come as [length, features] and as [features, length]: what varies is the length.
    if len(shapes[name]) == 2 and not any((name, 3 - at) in other for other in (group,)):
        return "length"
    return usual[at - 1] if at <= len(usual) else f"{name}_{at}"
