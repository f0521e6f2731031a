"""Which dimensions may vary, and which of them only together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from modelyard_build.adoption.origin import Limit
from modelyard_build.adoption.trials import Group, Site, Trials

_MOST_COMBINATIONS = 64
# What networks halve their inputs by.
_STEPS = (2, 4, 8, 16, 32, 64)

Limits = Mapping[str, Mapping[int, Limit]]


def find_groups(trials: Trials, limits: Limits) -> tuple[list[Group], list[str]]:
    """The dimensions that may vary, those together that must agree; and why others may not, a sentence each.

    Args:
        trials: the module.
        limits: what is known: dimensions of one name vary together.
    """
    open_ = list(_candidates(trials, limits))
    groups: list[Group] = []
    notes: list[str] = []
    for group in _known_groups(open_, limits):
        if not varies(trials, group):
            name, at = group[0]
            raise_note = f"{limits[name][at].name} does not vary: {trials.why}"
            notes.append(raise_note)
            continue
        groups.append(group)
        open_ = [site for site in open_ if site not in group]
    alone = [site for site in open_ if varies(trials, (site,))]
    fixed: dict[Site, str] = {}
    for site in open_:
        if site not in alone:
            varies(trials, (site,))
            fixed[site] = trials.why
    groups += [(site,) for site in alone]
    for site in list(fixed):
        if site in fixed and (found := _group_of(trials, site, list(fixed))):
            groups.append(found)
            fixed = {other: why for other, why in fixed.items() if other not in found}
    notes += [_note(trials, site, why) for site, why in fixed.items()]
    return groups, notes


def _candidates(trials: Trials, limits: Limits) -> Iterator[Site]:
    """A dimension of 1 is one that others are repeated along: it stays, unless it is known to vary."""
    for name, shape in trials.shapes.items():
        for at, size in enumerate(shape, 1):
            known = limits.get(name, {}).get(at)
            if (size > 1 and known is None) or (known and known.min < known.max):
                yield name, at


def _known_groups(sites: Sequence[Site], limits: Limits) -> list[Group]:
    named: dict[str, list[Site]] = {}
    for name, at in sites:
        if at in limits.get(name, {}):
            named.setdefault(limits[name][at].name, []).append((name, at))
    return [tuple(group) for group in named.values()]


def varies(trials: Trials, group: Group) -> bool:
    """Whether the module works one size above the example's, or one below; `trials.why` says why not."""
    size = trials.size(group[0])
    if trials.work(dict.fromkeys(group, size + 1)):
        return True
    why = trials.why
    if size > 1 and trials.work(dict.fromkeys(group, size - 1)):
        return True
    trials.why = why
    return False


def _group_of(trials: Trials, site: Site, others: Sequence[Site]) -> Group | None:
    """The fewest of the others with which a dimension varies."""
    found = next((group for group in _wider(trials, site, others) if varies(trials, group)), None)
    if found is None:
        return None
    for member in found[1:]:
        fewer = tuple(one for one in found if one != member)
        if varies(trials, fewer):
            found = fewer
    return found


def _wider(trials: Trials, site: Site, others: Sequence[Site]) -> Iterator[Group]:
    """The dimension with others of its size: at the same place, all, any one of each input, any of its own."""
    same = [one for one in others if one != site and trials.size(one) == trials.size(site)]
    if not same:
        return
    yield (site, *(one for one in same if one[1] == site[1]))
    yield (site, *same)
    of_input: dict[str, list[Site | None]] = {}
    for one in same:
        of_input.setdefault(one[0], [None]).append(one)
    combinations = itertools.product(*of_input.values())
    for chosen in itertools.islice(combinations, _MOST_COMBINATIONS):
        yield (site, *(one for one in chosen if one is not None))


def _note(trials: Trials, site: Site, why: str) -> str:
    name, at = site
    size = trials.size(site)
    said = f"{name} dimension {at} is fixed at {size}"
    step = next((step for step in _STEPS if trials.work({site: size + step})), None)
    if step is not None:
        return f"{said}: other sizes work in steps of {step} alone ({why}); callers pad or resize"
    return f"{said}: at {size + 1}, {why}"
