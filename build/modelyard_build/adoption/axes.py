"""Which dimensions may vary, together with which others, from what to what, and what of the outputs follows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelyard_build.adoption.axis_names import name_axes
from modelyard_build.adoption.batching import Batched
from modelyard_build.adoption.grouping import Limits, find_groups
from modelyard_build.adoption.origin import Limit
from modelyard_build.adoption.ranges import find_range, largest_batch, narrow_together, prove
from modelyard_build.adoption.running import Runner
from modelyard_build.adoption.trials import Group, Site, Trials
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Axis

# Numbers of items that lie beyond those of any example.
_OTHER_ITEMS = 10_000
# Fewer sizes than this leave none for tracing that is no limit; see `export.traced_sizes`.
_FEWEST = 8


@dataclass(frozen=True)
class Axes:
    """What was found.

    Attributes:
        inputs: the dims of each input, without the batch.
        outputs: the dims of each output by its place, without the batch; an axis without a name is the output's own.
        max_batch_size: the largest batch that is worth declaring.
        notes: what is fixed, and why.
        proven: what was seen to hold.
    """

    inputs: Mapping[str, tuple[int | Axis, ...]]
    outputs: Mapping[str, tuple[int | Axis, ...]]
    max_batch_size: int
    notes: tuple[str, ...]
    proven: tuple[str, ...]


def explore(runner: Runner, outputs: Mapping[str, Batched], limits: Limits, report: Callable[[str], None]) -> Axes:
    """Tries other sizes.

    Args:
        runner: the module, with its example.
        outputs: what it answers.
        limits: what is known of dimensions.
        report: takes a line about what is being tried.

    Raises:
        AdoptionFailed: the sizes of an output depend on the values of the inputs.
    """
    trials = Trials(runner, outputs)
    _check_sizes_follow_sizes(trials)
    report("which dimensions may vary")
    groups, notes = find_groups(trials, limits)
    report("from what to what they may vary")
    ranges, too_close = _ranges(trials, groups, limits)
    ranges, narrowed = narrow_together(trials, ranges)
    batch = largest_batch(trials, ranges)
    ranges, refuted, proven = prove(trials, ranges, batch)
    by_site = {site: axis for group, axis in ranges.items() for site in group}
    return Axes(
        inputs={
            name: tuple(by_site.get((name, at), size) for at, size in enumerate(shape, 1))
            for name, shape in trials.shapes.items()
        },
        outputs={place: _output_dims(trials, place, by_site) for place in outputs},
        max_batch_size=batch,
        notes=(*notes, *too_close, *narrowed, *refuted),
        proven=tuple(proven),
    )


def _ranges(trials: Trials, groups: list[Group], limits: Limits) -> tuple[dict[Group, Axis], list[str]]:
    names = name_axes(trials.shapes, groups, limits)
    found: dict[Group, Axis] = {}
    notes = []
    for group in groups:
        low, high = find_range(trials, group, _known(group, limits))
        example = trials.size(group[0])
        if high - low < _FEWEST:
            notes.append(f"{names[group]} is fixed at {example}: it works from {low} to {high} only")
        else:
            found[group] = Axis(names[group], low, high, example)
    return found, notes


def _check_sizes_follow_sizes(trials: Trials) -> None:
    """The same sizes with other values must give the same sizes."""
    if not trials.work({}):
        raise AdoptionFailed(f"the module does not answer to two items of its example: {trials.why}.")
    if not trials.work({}, first=_OTHER_ITEMS):
        raise AdoptionFailed(
            f"the module takes its example, but not other values of the same shapes: {trials.why}. Give an example of "
            "several items that shows which values are possible (whole numbers are drawn from those that it holds)."
        )
    (_, first), (_, other) = trials.seen[-2:]
    for place, shape in first.items():
        if other[place] != shape:
            raise AdoptionFailed(
                f"output {place or 'output'!r} is {list(shape)} for one item and {list(other[place])} for another "
                "of the same shape: its size depends on values. A batch has one size for all. Return a fixed "
                "number of rows with a mask or a count beside them."
            )


def _known(group: Group, limits: Limits) -> Limit | None:
    return next((limits[name][at] for name, at in group if at in limits.get(name, {})), None)


def _output_dims(trials: Trials, place: str, axes: Mapping[Site, Axis]) -> tuple[int | Axis, ...]:
    """A dim that was the same at all sizes, or always that of an input's axis, or an axis of the output's own."""
    seen = [(sizes, shapes[place]) for sizes, shapes in trials.seen if sizes.keys() <= axes.keys()]
    return tuple(_output_dim(trials, at, seen, axes) for at in range(len(seen[0][1])))


def _output_dim(
    trials: Trials,
    at: int,
    seen: list[tuple[Mapping[Site, int], tuple[int, ...]]],
    axes: Mapping[Site, Axis],
) -> int | Axis:
    found = [shape[at] for _, shape in seen]
    if len(set(found)) == 1:
        return found[0]
    for site, axis in axes.items():
        if all(shape[at] == sizes.get(site, trials.size(site)) for sizes, shape in seen):
            return axis
    return Axis("", min(found), max(found))
