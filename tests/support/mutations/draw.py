"""Mutants, drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from support.mutations import configs, folders
from support.mutations.mutant import Mutant, is_dangerous

Change = Callable[[Mutant], st.SearchStrategy[Mutant]]
# How often each is drawn: what people do to a config most often comes most often.
FIELDS: tuple[Change, ...] = (
    *(configs.revalued,) * 5,
    *(configs.inserted,) * 5,
    *(configs.removed,) * 3,
    *(configs.swapped,) * 3,
    *(configs.misspelt,) * 2,
    configs.doubled,
    configs.moved,
    configs.reformed,
)
TEXTS: tuple[Change, ...] = (*(configs.edited,) * 4, configs.reformed, configs.halved)
FOLDERS: tuple[Change, ...] = (
    *(folders.version_renamed, folders.version_added, folders.file_removed, folders.file_renamed, folders.file_changed),
    folders.config_misplaced,
)


@st.composite
def mutants(draw: st.DrawFn, bases: Sequence[Mutant], changes: Sequence[Change]) -> Mutant:
    """One of the bases with one to three changes."""
    mutant = draw(st.sampled_from(bases))
    for _ in range(draw(st.sampled_from((1, 1, 1, 1, 1, 2, 2, 3)))):
        change = draw(st.sampled_from(changes))
        if (mutant.config and configs.spots(mutant.text)) or change in FOLDERS:
            mutant = draw(change(mutant))
    return mutant


def drawn(bases: Sequence[Mutant], changes: Sequence[Change], count: int, number: int) -> list[Mutant]:
    """So many different mutants, the same ones for the same seed; none is what it was made of, none is dangerous.

    Args:
        bases: what they are made of.
        changes: what may be done to them.
        count: of mutants.
        number: the seed.
    """
    found: dict[str, Mutant] = {base.key: base for base in bases}
    known = len(found)

    def collect(mutant: Mutant) -> None:
        if mutant.changes and len(found) < known + count and not is_dangerous(mutant.text):
            found.setdefault(mutant.key, mutant)

    while len(found) < known + count:
        run = settings(
            max_examples=count,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(given(mutants(bases, changes))(collect))
        seed(number)(run)()
        number += 1_000_003
    return list(found.values())[known:]
