"""What a rule is, and how one is written."""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard_build.repository.text_format.splice import Edit


class Severity(enum.Enum):
    """How bad a finding is."""

    # Triton refuses the model, or requests to it fail.
    ERROR = "error"
    # It loads, and does not do what the text says, or does it badly.
    WARNING = "warning"


class Verdict(enum.Enum):
    """What Triton itself says to the rule's bad example."""

    REFUSES = "Triton refuses to load the model"
    LOADS = "Triton loads the model and says nothing"
    # It takes a GPU, another release, or a file that no server reads.
    UNSEEN = "not seen by a server on a CPU"


@dataclass(frozen=True)
class Raised:
    """What a rule found.

    Attributes:
        message: what is there, what is expected, and the next step; one sentence or two, without a full stop needed.
        path: the file or folder it is about.
        start, end: the place in the file, in characters; both 0 where it is about the whole.
        fix: the edits that mend it, where there is one safe mend.
    """

    message: str
    path: Path
    start: int = 0
    end: int = 0
    fix: tuple[Edit, ...] = ()


Findings = Iterable[Raised]


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        code: such as "MY201"; the first digit is the topic's.
        name: the function's name, in kebab case.
        severity: of its findings.
        summary: what is wrong, in one line.
        reason: why it matters, with Triton's own words where it has any; Markdown.
        mend: what to do about it.
        verdict: what Triton says to it.
        subject: the class of what it looks at: Repositories, Repository, Model, Config or Deployment.
        check: finds it.
    """

    code: str
    name: str
    severity: Severity
    summary: str
    reason: str
    mend: str
    verdict: Verdict
    subject: type
    check: Callable[[Any], Findings]


def rule(
    code: str, severity: Severity, *, summary: str, mend: str, verdict: Verdict
) -> Callable[[Callable[[Any], Findings]], Rule]:
    """Makes a rule of a function: its docstring is the reason, the annotation of its parameter the subject."""

    def decorate(check: Callable[[Any], Findings]) -> Rule:
        hints = typing.get_type_hints(check)
        subject = next(iter(hints.values()))
        reason = inspect.cleandoc(check.__doc__ or "")
        name = check.__name__.replace("_", "-")
        return Rule(code, name, severity, summary, reason, mend, verdict, subject, check)

    return decorate
