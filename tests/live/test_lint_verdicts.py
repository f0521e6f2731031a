"""Every rule's examples before the real Triton: it refuses what a rule says it refuses, and loads the rest."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from modelyard_build.repository.lint.examples import Example, example
from modelyard_build.repository.lint.rule import Rule, Severity, Verdict
from modelyard_build.repository.lint.rules import RULES
from modelyard_server.process import TritonServer
from support import lint_examples
from support.judge import Case, Outcome, Panel, Verdicts
from support.triton import WAIT_S, options_on_free_ports

# One server start for all of a kind: the first test waits for every verdict.
pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

# Most of a load's time is waiting, also on two cores.
JUDGES = 6
# One in so many of the examples that load is in every run.
SAMPLE = 12


@dataclass(frozen=True)
class Asked:
    """An example that a server can judge.

    Attributes:
        name: its file's, without the suffix.
        example: what stands in the file.
    """

    name: str
    example: Example

    @property
    def model(self) -> str:
        """The model that the server is asked about."""
        return self.example.setting("model", lint_examples.MODEL)

    @property
    def arguments(self) -> str:
        """Of the server."""
        return self.example.setting("server-arguments")


def _asked() -> list[object]:
    """Every example that a server can judge. Of those that load, which takes a second, most are for the slow run."""
    every = [Asked(f"{rule.code}.{kind}", example(rule, kind)) for rule in RULES for kind in ("bad", "good")]
    refused = [asked for asked in every if asked.example.setting("server").startswith("refuses")]
    loaded = [asked for asked in every if asked.example.setting("server") == "loads"]
    sample = [*refused, *loaded[::SAMPLE]]
    return [
        pytest.param(asked, id=asked.name, marks=() if asked in sample else pytest.mark.slow)
        for asked in (*refused, *loaded)
    ]


@pytest.fixture(scope="module")
def judged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdicts]:
    """What Triton says of each example that is tested in this run, by the example's name."""
    folder = tmp_path_factory.mktemp("examples")
    groups: defaultdict[str, list[Asked]] = defaultdict(list)
    for item in request.session.items:
        asked = getattr(item, "callspec", None) and item.callspec.params.get("asked")  # type: ignore[attr-defined]
        if isinstance(asked, Asked):
            groups[asked.arguments].append(asked)
    found: dict[str, Verdicts] = {}
    for number, (arguments, group) in enumerate(groups.items()):
        cases = []
        for asked in group:
            lint_examples.write(asked.example, folder / asked.name)
            cases.append(Case(folder / asked.name, (asked.model,)))
        given = arguments.split() if arguments else None
        with Panel(folder / f"served-{number}", min(JUDGES, len(cases)), given) as panel:
            found |= zip((asked.name for asked in group), panel.verdicts(cases), strict=True)
    return found


@pytest.mark.parametrize("asked", _asked())
def test_triton_does_what_the_example_says(asked: Asked, judged: dict[str, Verdicts]) -> None:
    """A refused example is refused, in the words that it quotes where it does; every other one loads."""
    expected, _, words = asked.example.setting("server").partition(":")
    verdict = judged[asked.name][asked.model]
    said = f"{verdict.outcome.value}: {verdict.reason}"
    # What hangs or ends the server is refused in a way, where the example says in which.
    assert verdict.outcome.value == expected or (words and not verdict.loads and expected == Outcome.REFUSES.value), (
        said
    )
    assert words.strip() in said


@pytest.mark.parametrize(
    "rule",
    [rule for rule in RULES if rule.severity is Severity.ERROR and rule.verdict is Verdict.LOADS],
    ids=lambda rule: rule.code,
)
def test_a_model_that_loads_with_an_error_answers_no_request(rule: Rule, tmp_path: Path) -> None:
    """An error that Triton does not see when it loads the model is one that every request meets."""
    for kind in ("bad", "good"):
        lint_examples.write(example(rule, kind), tmp_path / kind)
    bad, good = (replace(options_on_free_ports(tmp_path / kind), exit_timeout_s=1) for kind in ("bad", "good"))
    with TritonServer(bad) as server, pytest.raises((URLError, ConnectionError)):
        _ask(server.http_url)
    with TritonServer(good) as server:
        assert _ask(server.http_url)["outputs"]


def _ask(http_url: str) -> dict[str, Any]:
    """One request to the example's model, with zeros for each input that it tells of."""
    url = f"http://{http_url}/v2/models/{lint_examples.MODEL}"
    with urlopen(url, timeout=WAIT_S) as response:
        inputs = {tensor["name"]: tensor for tensor in json.load(response)["inputs"]}
    for tensor in inputs.values():
        tensor["shape"] = [1, *(max(size, 1) for size in tensor["shape"][1:])]
        tensor["data"] = [0] * math.prod(tensor["shape"])
    request = Request(f"{url}/infer", json.dumps({"inputs": list(inputs.values())}).encode())  # noqa: S310
    with urlopen(request, timeout=WAIT_S) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
    return answer
