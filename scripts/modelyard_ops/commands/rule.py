"""`modelyard rule`: explains a rule of lint."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence

from modelyard_build.repository.lint.examples import example
from modelyard_build.repository.lint.rule import Rule
from modelyard_build.repository.lint.rules import BY_CODE, RULES
from modelyard_ops.errors import CannotRun
from modelyard_ops.linting.outputs import emit

TOPICS = {
    "1": "files and folders",
    "2": "tensors",
    "3": "scheduling",
    "4": "instances",
    "5": "ensembles",
    "6": "artefacts",
    "7": "operation",
}


def rule(arguments: Sequence[str]) -> int:
    """Explain a rule of lint: what is wrong, why it matters, how it is mended, with an example."""
    parser = argparse.ArgumentParser("modelyard rule", description=rule.__doc__, allow_abbrev=False)
    parser.add_argument("code", nargs="?", metavar="CODE", help="such as MY102; without one, all rules are listed")
    code = parser.parse_args(arguments).code
    emit(explained(known(code)) if code else listed())
    return 0


def known(code: str) -> Rule:
    """The rule of a code, however it is written.

    Raises:
        CannotRun: there is none.
    """
    upper = code.strip().upper()
    if upper not in BY_CODE:
        close = difflib.get_close_matches(upper, BY_CODE, 1)
        hint = f"did you mean {close[0]}?" if close else "`modelyard rule` lists them all."
        raise CannotRun(f"there is no rule {code!r}; {hint}")
    return BY_CODE[upper]


def listed() -> str:
    """Every rule on a line, by topic."""
    lines: list[str] = []
    for number, topic in TOPICS.items():
        rules = [each for each in RULES if each.code.startswith(f"MY{number}")]
        if rules:
            lines += ["", topic] if lines else [topic]
            lines += [f"  {each.code}  {each.severity.value:8} {each.summary}" for each in rules]
    return "\n".join(lines) + "\n"


def explained(found: Rule) -> str:
    """All that is known of a rule."""
    head = f"{found.code} {found.name} ({found.severity.value}): {found.summary}"
    parts = [head, found.reason, f"Mend: {found.mend}", f"{found.verdict.value[0].upper()}{found.verdict.value[1:]}."]
    parts += [f"{kind.capitalize()}:\n\n{_shown(found, kind)}" for kind in ("bad", "good")]
    return "\n\n".join(parts) + "\n"


def _shown(found: Rule, kind: str) -> str:
    """The files of an example that are text, indented."""
    texts = [
        f"  {file.path}\n" + "".join(f"    {line}\n" for line in file.text.splitlines())
        for file in example(found, kind).files
    ]
    return "\n".join(texts).rstrip("\n")
