"""What the linter says, held against what the server does; and the table of deliberate differences."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from modelyard_build.repository.lint import rule as lint_rule
from modelyard_build.repository.lint.hardware import machine
from modelyard_build.repository.lint.rule import Severity
from modelyard_build.repository.lint.rule import Verdict as Refusal
from modelyard_build.repository.lint.rules import BY_CODE, RULES
from modelyard_build.repository.lint.run import UNPARSABLE, Finding, lint
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Repository
from support.judge import Verdict
from support.mutations.mutant import Mutant

TABLE = Path(lint_rule.__file__).with_name("differences.json")
# Said of a config that protobuf's parser does not take, and of nothing else.
PARSER = "failed to read text proto"


# Codes, and messages with the file before them.
Said = tuple[tuple[str, str], ...]


class Class(enum.Enum):
    """How the two verdicts stand to one another."""

    BOTH_ACCEPT = "both accept"
    BOTH_REFUSE = "both refuse"
    # The server refuses it, and a warning says that it does so with some models.
    WARNED = "lint warns of it"
    # An error is found, and the server loads it.
    STRICTER = "lint is stricter"
    # The server refuses it, and no error is found.
    BLIND = "lint is blind"
    # Both refuse it, and only one of them because of the text format.
    PARSER_DIFFERS = "the parsers differ"


@dataclass(frozen=True)
class Held:
    """A mutant with both verdicts.

    Attributes:
        mutant: what was judged.
        errors: what the linter found of severity error: codes and messages.
        warnings: likewise.
        verdicts: the server's, by model.
    """

    mutant: Mutant
    errors: Said
    warnings: Said
    verdicts: Mapping[str, Verdict]

    @property
    def reason(self) -> str:
        """Why the server refuses it: the changed model's reason first; empty where it does not."""
        models = (self.mutant.model, *self.mutant.models)
        refused = [self.verdicts[name] for name in models if not self.verdicts[name].loads]
        return f"{refused[0].outcome.value}: {refused[0].reason}" if refused else ""

    @property
    def kind(self) -> Class:
        """How the verdicts stand to one another."""
        if not self.reason:
            return Class.STRICTER if self.errors else Class.BOTH_ACCEPT
        if not self.errors:
            foretold = any(BY_CODE[code].verdict is Refusal.REFUSES for code, _ in self.warnings)
            return Class.WARNED if foretold else Class.BLIND
        unparsable = any(code == UNPARSABLE for code, _ in self.errors)
        return Class.BOTH_REFUSE if unparsable == (PARSER in self.reason) else Class.PARSER_DIFFERS

    @property
    def is_agreed(self) -> bool:
        """Whether both say the same."""
        return self.kind in (Class.BOTH_ACCEPT, Class.BOTH_REFUSE, Class.WARNED)

    @property
    def deliberate(self) -> str:
        """Why the verdicts differ on purpose, out of the table; empty where no row has it."""
        return next((row["reason"] for row in differences() if _covers(row, self)), "")


@cache
def differences() -> list[dict[str, str]]:
    """The rows of the table."""
    rows: list[dict[str, str]] = json.loads(TABLE.read_text(encoding="utf-8"))["differences"]
    return rows


def _covers(row: Mapping[str, str], held: Held) -> bool:
    """Whether a row is about a difference."""
    if row["class"] != held.kind.value or not re.search(row.get("server", ""), held.reason):
        return False
    if "warning" in row and not any(re.match(row["warning"], said) for said in _lines(held.warnings)):
        return False
    return all(re.match(row.get("lint", ""), said) for said in _lines(held.errors))


def _lines(said: Said) -> list[str]:
    return [f"{code} {message}" for code, message in said]


def said_of(folder: Path) -> tuple[Said, Said]:
    """What the linter finds in a repository, on the machine of the server: errors and warnings."""
    settings = Settings(machine=machine("cpu"), server_arguments=("--cache-config=local,size=67108864",))
    found = lint([Repository(folder, settings)], [], settings, RULES)
    return _said(found, Severity.ERROR, folder), _said(found, Severity.WARNING, folder)


def _said(found: Sequence[Finding], severity: Severity, folder: Path) -> Said:
    return tuple(
        (each.rule.code, f"{each.path.relative_to(folder).as_posix()}: {each.message}")
        for each in found
        if each.severity is severity
    )
