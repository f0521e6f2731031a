"""Which nodes to leave in the higher precision: the fewest that the asked quality can do with.

A ranking orders them by the error that each brings on its own; then bisection finds how many of the worst must stay.
Bisection takes it for granted that leaving out more is never worse. Where that fails now and then, the answer is still
one that was measured and holds, only perhaps not the smallest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

# The error of the graph with the first n of the ranking left out, in units of what is allowed.
Measure: TypeAlias = Callable[[int], float]


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        excluded: how many of the ranking, from its start, stay in the higher precision.
        steps: each count that was measured and its error, in the order of measuring.
    """

    excluded: int
    steps: tuple[tuple[int, float], ...]


def search(candidates: int, measure: Measure, bound: float) -> Search | None:
    """Finds how many of a ranking to leave out.

    Args:
        candidates: how many there are to leave out, the worst first.
        measure: the error with the first n left out; called at most 2 + log2(candidates) times, never twice for one n,
            and never for all, which would be the graph in its higher precision.
        bound: the largest error that is acceptable.

    Returns:
        The result; None if nothing short of all is enough.
    """
    steps: list[tuple[int, float]] = []

    def holds(count: int) -> bool:
        steps.append((count, measure(count)))
        return steps[-1][1] <= bound

    if candidates == 0:
        return None
    if holds(0):
        return Search(0, tuple(steps))
    failing, holding = 0, candidates
    while holding - failing > 1:
        middle = (failing + holding) // 2
        if holds(middle):
            holding = middle
        else:
            failing = middle
    return None if holding == candidates else Search(holding, tuple(steps))
