"""From what to what a dimension may vary: the smallest and the largest size that worked, within a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from modelyard_build.adoption.origin import Limit
from modelyard_build.adoption.trials import Group, Site, Trials
from modelyard_build.model import Axis

# Sizes that nothing is known of are tried up to here, or to the example's, where that is larger.
BOUND = 512
# Where two items take longer, larger sizes are not tried: whoever needs them says so.
SLOW_S = 0.5
# The longest run that a batch should be, and the most items that are declared.
_LONGEST_BATCH_S = 4.0
_MOST_ITEMS = 16
_RUNS = 3


def find_range(trials: Trials, group: Group, known: Limit | None) -> tuple[int, int]:
    """The smallest and the largest size at which the module works; what lies between is tried by `prove`."""
    size = trials.size(group[0])
    if not trials.work(dict.fromkeys(group, size)):
        return size, size

    def works(other: int) -> bool:
        return trials.work(dict.fromkeys(group, other))

    if known:
        return _between(works, size, min(known.min, size)), _between(works, size, max(known.max, size))
    return _between(works, size, 1), _largest(trials, works, size)


def _largest(trials: Trials, works: Callable[[int], bool], size: int) -> int:
    bound = max(BOUND, size)
    found = size
    while found < bound and (trials.runner.seconds < SLOW_S or (works(found) and trials.runner.seconds < SLOW_S)):
        following = min(2 * found, bound)
        if not works(following):
            return _between(works, found, following)
        found = following
    return found


def _between(works: Callable[[int], bool], good: int, end: int) -> int:
    """The size nearest to `end` that works, where all between it and `good` do."""
    if good == end or works(end):
        return end
    bad = end
    while abs(bad - good) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if works(middle) else (good, middle)
    return good


def narrow_together(trials: Trials, ranges: Mapping[Group, Axis]) -> tuple[dict[Group, Axis], list[str]]:
    """Draws the limits closer until the module works with all axes at the smallest, and with all at the largest."""
    found = dict(ranges)
    notes = []
    while len(found) > 1 and not trials.work(_at(found, "max")) and _shrinkable(trials, found, "max"):
        why = trials.why
        found = {group: replace(axis, max=(axis.max + trials.size(group[0])) // 2) for group, axis in found.items()}
        notes = [f"all axes at their largest fail together ({why}): their limits are drawn closer"]
    while len(found) > 1 and not trials.work(_at(found, "min")) and _shrinkable(trials, found, "min"):
        why = trials.why
        found = {group: replace(axis, min=(axis.min + trials.size(group[0]) + 1) // 2) for group, axis in found.items()}
        notes.append(f"all axes at their smallest fail together ({why}): their limits are drawn closer")
    return found, list(dict.fromkeys(notes))


def _at(ranges: Mapping[Group, Axis], end: str) -> dict[Site, int]:
    return {site: getattr(axis, end) for group, axis in ranges.items() for site in group}


def _shrinkable(trials: Trials, ranges: Mapping[Group, Axis], end: str) -> bool:
    return any(getattr(axis, end) != trials.size(group[0]) for group, axis in ranges.items())


def largest_batch(trials: Trials, ranges: Mapping[Group, Axis]) -> int:
    """The most items whose answers, at the largest sizes, are not long in coming; a power of 2."""
    # The quickest of a few: what else the machine does makes a run longer, and nothing makes it shorter.
    runs = []
    for _ in range(_RUNS):
        trials.work(_at(ranges, "max"))
        runs.append(trials.runner.seconds)
    batch, seconds = _MOST_ITEMS, min(runs) / 2
    while batch > 1 and batch * seconds > _LONGEST_BATCH_S:
        batch //= 2
    return batch


def prove(trials: Trials, ranges: Mapping[Group, Axis], batch: int) -> tuple[dict[Group, Axis], list[str], list[str]]:
    """Runs sizes that nothing was found with; an axis that fails at one of them is no axis.

    Returns:
        The axes that hold, a sentence about each that does not, and one about what was seen.
    """
    found, notes = dict(ranges), []
    for group, axis in ranges.items():
        for size in _others(trials, group, axis):
            if not trials.work(dict.fromkeys(group, size), batch=3):
                notes.append(
                    f"{axis.name} is fixed at {trials.size(group[0])}: {axis.min} and {axis.max} work, {size} does not "
                    f"({trials.why})"
                )
                del found[group]
                break
    tried = sorted({tuple(sorted(sizes.items())) for sizes, _ in trials.seen})
    works = trials.work(_at(found, "min"), batch=1) and trials.work(_at(found, "min"), batch=batch)
    shapes = f"{len(tried)} shapes" if len(tried) > 1 else "one shape"
    seen = f"PyTorch ran {shapes} at batch 1 to {batch if works else 3}"
    return found, notes, [seen]


def _others(trials: Trials, group: Group, axis: Axis) -> Iterator[int]:
    """Sizes between the limits that were not tried: odd and even ones, thirds, fifths."""
    seen = {sizes[group[0]] for sizes, _ in trials.seen if group[0] in sizes}
    span = axis.max - axis.min
    wanted = {axis.min + span // 3, axis.min + span // 5, axis.min + (2 * span) // 3, axis.min + 1, axis.max - 1}
    yield from sorted(size for size in {*wanted, *(size + 1 for size in wanted)} - seen if axis.min < size < axis.max)
