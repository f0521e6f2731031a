"""MY19x: comments that ask the linter to be silent, and do not say why or have no effect."""

from __future__ import annotations

import difflib

from modelyard_build.repository.lint.ignores import Code, Ignores
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule

_FORM = "# modelyard: ignore[MY201] the reason"


@rule(
    "MY190",
    Severity.WARNING,
    summary="a finding is ignored without a reason",
    mend="Write behind the brackets why the finding does not matter here.",
    verdict=Verdict.LOADS,
)
def ignored_without_a_reason(ignores: Ignores) -> Findings:
    """Whoever reads the comment next must be able to judge whether it still holds.

    The form is `# modelyard: ignore[MY201] the reason`, at the end of the line, alone on the line above, or before the
    first field where the finding is about the whole file.
    """
    for comment in ignores.comments:
        if comment.codes and not comment.reason:
            listed = ", ".join(code.text for code in comment.codes)
            yield ignores.raised(f"{listed} is ignored without a reason; write one behind the brackets", comment)


@rule(
    "MY191",
    Severity.WARNING,
    summary="a comment that ignores findings has no effect",
    mend="Take the comment or the code away, or write it as `# modelyard: ignore[MY201] the reason`.",
    verdict=Verdict.LOADS,
)
def ignores_nothing(ignores: Ignores) -> Findings:
    """A comment that is misspelt hides nothing, and one that outlived its finding will hide the next one.

    A code counts for findings on its own line, on the line after the comments it stands among, or, before the first
    field, for those about the whole file. Codes whose rules are not asked are not judged.
    """
    for comment in ignores.comments:
        if not comment.codes:
            yield ignores.raised(f"this comment is not understood; write {_FORM}", comment)
        for code in comment.codes:
            if code.text not in ignores.known:
                yield _unknown(ignores, code)
            elif code.text in ignores.asked and code.start not in ignores.used:
                message = f"{code.text} finds nothing {_where(comment.line, comment.head)}; take it away"
                yield ignores.raised(message, code)


def _unknown(ignores: Ignores, code: Code) -> Raised:
    close = difflib.get_close_matches(code.text, sorted(ignores.known), 1)
    return ignores.raised(f"there is no rule {code.text}{f'; did you mean {close[0]}?' if close else ''}", code)


def _where(line: int, head: bool) -> str:
    return f"on line {line}{' or about the whole file' if head else ''}"
