"""Thousands of mutants before the linter and the real Triton: `python -m support.lint_mutations --out FOLDER`.

What Triton said is written down as it comes, by the mutant's content: a run that was broken off goes on where it was,
and after a rule has changed only the linter is asked again.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.judge import Case, Outcome, Panel, Verdict, Verdicts
from support.mutations import draw
from support.mutations.bases import bases, syntaxes
from support.mutations.held import Class, Held, said_of
from support.mutations.mutant import Mutant

SEED = 20261121


def main() -> int:
    """Judges the mutants that no file has yet, and reports. Returns 1 where a difference is no deliberate one."""
    parser = argparse.ArgumentParser(prog="support.lint_mutations", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder outside of the tree, for what is found")
    parser.add_argument("--systems", type=int, default=1800, help="mutants of this project's configs and folders")
    parser.add_argument("--examples", type=int, default=1800, help="mutants of the rules' good examples")
    parser.add_argument("--texts", type=int, default=1500, help="mutants that are parsed, and not served")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--judges", type=int, default=5, help="servers side by side")
    parser.add_argument("--report", action="store_true", help="ask the linter alone; no server is started")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    counts = {"texts": given.texts, "systems": given.systems, "examples": given.examples}
    kinds = {kind: count for kind, count in counts.items() if count}
    mutants = [each for kind, count in kinds.items() for each in _remembered(given.out, kind, count, given.seed)]
    known = _read(given.out / "verdicts.jsonl")
    if not given.report:
        judge([mutant for mutant in mutants if mutant.key not in known], given.out / "verdicts.jsonl", given.judges)
        known = _read(given.out / "verdicts.jsonl")
    found = list(held([mutant for mutant in mutants if mutant.key in known], known))
    report = _report(found)
    (given.out / "report.txt").write_text(report, encoding="utf-8", errors="backslashreplace")
    print(_summary(found))
    return 0 if all(each.is_agreed or each.deliberate for each in found) else 1


def drawn(systems: int, examples: int, texts: int, seed: int) -> list[Mutant]:
    """The mutants of a seed: so many of each kind of base."""
    counts = {"texts": texts, "systems": systems, "examples": examples}
    return [mutant for kind, count in counts.items() if count for mutant in _drawn(kind, count, seed)]


def _drawn(kind: str, count: int, seed: int) -> list[Mutant]:
    if kind == "texts":
        return draw.drawn(syntaxes(), (*draw.TEXTS, *draw.TEXTS, *draw.FIELDS), count, seed)
    made_of = [
        base for base in bases() if base not in syntaxes() and base.base.startswith("MY") == (kind == "examples")
    ]
    return draw.drawn(made_of, (*draw.FIELDS, *draw.FOLDERS), count, seed)


def _remembered(folder: Path, kind: str, count: int, seed: int) -> list[Mutant]:
    """The same, drawn once: what Hypothesis draws for a seed also follows from the sources that are loaded."""
    file = folder / f"{kind}-{count}-{seed}.jsonl"
    if not file.exists():
        lines = [json.dumps(mutant.as_json()) for mutant in _drawn(kind, count, seed)]
        file.write_text("\n".join(lines), encoding="utf-8")
    return [Mutant.of_json(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def judge(mutants: Sequence[Mutant], file: Path, judges: int) -> None:
    """Asks the server, and adds its answers to a file as they come."""
    # Those of one base one after the other: the steps of an ensemble stay loaded.
    ordered = sorted(mutants, key=lambda mutant: mutant.base)
    if not ordered:
        return
    folder = Path(tempfile.mkdtemp(prefix="modelyard_mutants_"))
    cases = {Case(folder / mutant.key, mutant.models): mutant for mutant in ordered}
    started, done = time.monotonic(), 0
    try:
        with Panel(folder / "served", judges) as panel, file.open("a", encoding="utf-8") as out:
            judged = panel.verdicts(list(cases), lambda case: cases[case].write(case.repository))
            for case, verdicts in zip(cases, judged, strict=True):
                said = {name: [verdict.outcome.value, verdict.reason] for name, verdict in verdicts.items()}
                out.write(f"{json.dumps({'key': cases[case].key, 'base': cases[case].base, 'said': said})}\n")
                out.flush()
                shutil.rmtree(case.repository)
                done += 1
                if done % 100 == 0:
                    print(f"{done} of {len(cases)} judged, {time.monotonic() - started:.0f} s", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def held(mutants: Sequence[Mutant], verdicts: dict[str, Verdicts]) -> Iterator[Held]:
    """Each mutant with what the linter and the server say."""
    with tempfile.TemporaryDirectory() as folder:
        for mutant in mutants:
            place = Path(folder, mutant.key)
            mutant.write(place)
            yield Held(mutant, *said_of(place), verdicts[mutant.key])
            shutil.rmtree(place)


def _read(file: Path) -> dict[str, Verdicts]:
    found: dict[str, Verdicts] = {}
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found[row["key"]] = {name: Verdict(Outcome(said[0]), said[1]) for name, said in row["said"].items()}
    return found


def _summary(found: Sequence[Held]) -> str:
    counts = collections.Counter(each.kind for each in found)
    lines = [f"{len(found)} mutants"]
    for kind in Class:
        deliberate = sum(bool(each.deliberate) for each in found if each.kind is kind and not each.is_agreed)
        lines.append(f"  {counts[kind]:6} {kind.value}{f', {deliberate} of them on purpose' if deliberate else ''}")
    return "\n".join(lines)


def _report(found: Sequence[Held]) -> str:
    """Every difference that no row of the table has, alike ones together, each group with its smallest mutant."""
    groups: dict[tuple[str, str], list[Held]] = {}
    for each in found:
        if not each.is_agreed and not each.deliberate:
            words = each.reason if each.kind is not Class.STRICTER else ", ".join(code for code, _ in each.errors)
            groups.setdefault((each.kind.value, _alike(words)), []).append(each)
    parts = [_summary(found)]
    for (kind, words), group in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]))):
        smallest = min(group, key=lambda each: (len(each.mutant.changes), len(each.mutant.config)))
        errors = "\n".join(f"  lint: {code} {said}" for code, said in (*smallest.errors, *smallest.warnings))
        changes = "; ".join(smallest.mutant.changes)
        parts.append(
            f"\n=== {kind}: {len(group)} times: {words}\n  {smallest.mutant.base} {smallest.mutant.key}: {changes}\n"
            f"{errors}\n  server: {smallest.reason}\n"
            + "\n".join(f"  also: {each.mutant.base}: {'; '.join(each.mutant.changes)[:200]}" for each in group[1:6])
        )
    return "\n".join(parts)


def _alike(words: str) -> str:
    """The words without what differs from model to model."""
    words = re.sub(r"/\S+", "PATH", words)
    words = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", words)
    return re.sub(r"-?\d+", "N", words)[:160]


if __name__ == "__main__":
    sys.exit(main())
