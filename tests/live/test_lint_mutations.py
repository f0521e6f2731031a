"""Mutants of real configs: whatever Triton refuses the linter refuses, and nothing else.

A sample; `make lint-mutations` judges thousands. Where the verdicts differ on purpose, a table has the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from modelyard_build.repository.lint.rules import BY_CODE
from modelyard_server.state import running_servers
from support import lint_mutations
from support.judge import Case, Judge, Outcome, Panel, Verdict
from support.mutations.held import Class, Held, differences
from support.mutations.mutant import Mutant
from support.triton import left_behind, write_model

pytestmark = pytest.mark.live

# Another seed than the great run's, so that neither is all that was ever looked at.
SEED = 7


def held(mutants: Sequence[Mutant], folder: Path, judges: int) -> list[Held]:
    """The mutants with both verdicts."""
    cases = {Case(folder / mutant.key, mutant.models): mutant for mutant in mutants}
    with Panel(folder / "served", judges) as panel:
        verdicts = panel.verdicts(list(cases), lambda case: cases[case].write(case.repository))
        said = {mutant.key: found for mutant, found in zip(cases.values(), verdicts, strict=True)}
    return list(lint_mutations.held(mutants, said))


def differing(found: Sequence[Held]) -> list[str]:
    """What no row of the table explains."""
    return [
        f"{each.kind.value}: {each.mutant.base}: {'; '.join(each.mutant.changes)}: lint {each.errors}, "
        f"server {each.reason!r}\n{each.mutant.text}"
        for each in found
        if not each.is_agreed and not each.deliberate
    ]


def test_a_sample_of_mutants_has_the_same_verdict_twice(tmp_path: Path) -> None:
    """Of configs, folders and texts, a few of each."""
    found = held(lint_mutations.drawn(15, 15, 60, SEED), tmp_path, 4)
    assert {each.kind for each in found} >= {Class.BOTH_ACCEPT, Class.BOTH_REFUSE}
    assert differing(found) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_mutants_have_the_same_verdict_twice(tmp_path: Path) -> None:
    """The same with more of them, of another seed."""
    assert differing(held(lint_mutations.drawn(400, 400, 400, SEED + 1), tmp_path, 4)) == []


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with Judge(tmp_path_factory.mktemp("judge") / "served") as judge:
        yield judge


def test_the_judge_survives_what_kills_triton(judge: Judge, tmp_path: Path) -> None:
    """A version that no integer holds aborts Triton 2.51; the next case gets its verdict, and nothing is left."""
    write_model(tmp_path / "killing", "m")
    (tmp_path / "killing" / "m" / "9223372036854775808").mkdir()
    write_model(tmp_path / "good", "m")
    write_model(tmp_path / "bad", "m", more='version_policy { specific { versions: 7 } }\nname: "n"\n')
    killed = judge.verdicts(Case(tmp_path / "killing", ("m",)))["m"]
    assert killed.outcome is Outcome.CRASHES
    assert "std::out_of_range" in killed.reason
    assert judge.verdicts(Case(tmp_path / "good", ("m",))) == {"m": Verdict(Outcome.LOADS)}
    refused = judge.verdicts(Case(tmp_path / "bad", ("m",)))["m"]
    assert refused.outcome is Outcome.REFUSES
    assert refused.reason == "unexpected directory name 'm' for model 'n', directory name must equal model name"


def test_a_judge_leaves_nothing(tmp_path: Path) -> None:
    """No process, no shared memory, nor the repository that it served out of."""
    write_model(tmp_path / "good", "m")
    with Judge(tmp_path / "served") as judge:
        assert judge.verdicts(Case(tmp_path / "good", ("m",)))["m"].loads
        (server,) = running_servers(tmp_path / "served")
    assert left_behind(server) == []
    assert not (tmp_path / "served").exists()


def test_a_seed_makes_the_same_mutants() -> None:
    """A report's command is enough to see its cases again; no two are alike."""
    first = lint_mutations.drawn(20, 20, 20, SEED)
    keys = [mutant.key for mutant in first]
    assert keys == [mutant.key for mutant in lint_mutations.drawn(20, 20, 20, SEED)]
    assert len(set(keys)) == 60
    assert [Mutant.of_json(json.loads(json.dumps(mutant.as_json()))) for mutant in first] == first


def test_verdicts_that_differ_are_told_apart() -> None:
    """An error at what loads, none at what is refused, and a parser that stumbles alone."""
    mutant = Mutant("base", {}, "m", ("m",))
    loads = {"m": Verdict(Outcome.LOADS)}
    refused = {"m": Verdict(Outcome.REFUSES, "model input must specify 'name' for m")}
    unread = {"m": Verdict(Outcome.REFUSES, "failed to read text proto from m/config.pbtxt: 1:1: Expected identifier")}
    found = (("MY999", "name is empty"),)
    foretold, hinted = (("MY102", "another name"),), (("MY124", "not in the container"),)
    assert Held(mutant, (), foretold, loads).kind is Class.BOTH_ACCEPT
    assert Held(mutant, found, (), refused).kind is Class.BOTH_REFUSE
    assert Held(mutant, (), foretold, refused).kind is Class.WARNED
    assert Held(mutant, (), hinted, refused).kind is Class.BLIND
    assert Held(mutant, found, (), loads).kind is Class.STRICTER
    assert Held(mutant, (), (), refused).kind is Class.BLIND
    assert Held(mutant, found, (), unread).kind is Class.PARSER_DIFFERS
    assert not Held(mutant, found, (), loads).deliberate


def test_every_deliberate_difference_says_why() -> None:
    """A row names its class, a rule that exists or the server's words, and the reason."""
    for row in differences():
        assert row.keys() <= {"class", "lint", "warning", "server", "reason"}
        assert row["class"] in {kind.value for kind in (Class.STRICTER, Class.BLIND, Class.PARSER_DIFFERS)}
        assert len(row["reason"]) > 40
        assert row.keys() & {"lint", "warning", "server"}
        assert set(re.findall(r"MY\d{3}", row.get("lint", "") + row.get("warning", ""))) <= BY_CODE.keys()
