"""`--fix`: makes the mends that are safe, in rounds, since one may uncover the next; writes only at the end."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelyard_build.repository.lint.run import UNPARSABLE, Finding
from modelyard_build.repository.text_format.splice import Edit, splice
from modelyard_ops.errors import CannotRun
from modelyard_ops.linting.report import readable, shown

# More than any chain of mends; two rules that undo one another must end, too.
ROUNDS = 10


@dataclass
class Mended:
    """What the fixes come to.

    Attributes:
        before: the texts as they stand, of files that change.
        after: the texts with the fixes made.
        left: what is found then.
        count: how many findings were mended.
    """

    before: dict[Path, str] = field(default_factory=dict)
    after: dict[Path, str] = field(default_factory=dict)
    left: list[Finding] = field(default_factory=list)
    count: int = 0


def mend(lint: Callable[[Mapping[Path, str]], list[Finding]]) -> Mended:
    """Mends what can be, and writes nothing.

    Args:
        lint: finds what is wrong, with some texts in the place of what is on disk.

    Raises:
        CannotRun: a file that is to be mended cannot be read.
    """
    mended = Mended(left=lint({}))
    for _ in range(ROUNDS):
        proposed = dict(mended.after)
        count = 0
        for path, findings in _fixable(mended.left).items():
            if path not in mended.before:
                mended.before[path] = _read(path)
            text, made = apply(proposed.get(path, mended.before[path]), findings)
            proposed[path] = text
            count += made
        if proposed == mended.after:
            break
        left = lint(proposed)
        broken = {finding.path for finding in left if finding.rule.code == UNPARSABLE}
        if broken & proposed.keys():
            # A fix never makes a file that Triton cannot read; one that would is left to the person.
            break
        mended.after, mended.left = proposed, left
        mended.count += count
    mended.after = {path: text for path, text in mended.after.items() if text != mended.before[path]}
    return mended


def apply(text: str, findings: Iterable[Finding]) -> tuple[str, int]:
    """A text with the fixes made that do not meet, and of how many findings; those that do wait for the next round."""
    made: list[Edit] = []
    count = 0
    for finding in findings:
        new = [edit for edit in finding.fix if edit not in made]
        if not any(_meet(edit, other) for edit in new for other in made):
            made += new
            count += 1
    return splice(text, made), count


def _meet(one: Edit, other: Edit) -> bool:
    """Whether two edits touch the same place; of two at one point nobody knows which comes first."""
    return one.start <= other.end and other.start <= one.end


def _fixable(findings: Iterable[Finding]) -> dict[Path, list[Finding]]:
    found: dict[Path, list[Finding]] = {}
    for finding in findings:
        if finding.fix:
            found.setdefault(finding.path, []).append(finding)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise CannotRun(f"{path} cannot be read: {error.strerror}. Nothing was changed.") from None


def write(mended: Mended) -> None:
    """Writes the files that change, each in one step, with the permissions that it had.

    Raises:
        CannotRun: one changed meanwhile, or cannot be written; those before it are written.
    """
    from modelyard_build.atomic import replacing

    for path, text in mended.after.items():
        if _read(path) != mended.before[path]:
            raise CannotRun(f"{path} changed while it was linted; it was left as it is. Run the command again.")
        # A link stays a link.
        target = path.resolve()
        try:
            with replacing(target) as partial:
                partial.write_bytes(text.encode("utf-8", "surrogateescape"))
                partial.chmod(target.stat().st_mode)
        except OSError as error:
            raise CannotRun(f"{path} cannot be written: {error.strerror}. Check its folder's permissions.") from None


def diff(mended: Mended) -> str:
    """The changes as a unified diff, which `git apply` takes."""
    return "".join(
        line
        for path, text in mended.after.items()
        for line in _diff(shown(path), readable(mended.before[path]), readable(text))
    )


def summary(mended: Mended) -> str:
    """What the fixes would do, in a sentence."""
    files = len(mended.after)
    return (
        f"--fix would mend {mended.count} in {files} file{'' if files == 1 else 's'}; {len(mended.left)} would be left"
    )


def _diff(name: str, before: str, after: str) -> Iterable[str]:
    for line in difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    """The lines of a text with their ends. Not by splitlines, which also splits at form feeds."""
    *ended, last = text.split("\n")
    return [f"{line}\n" for line in ended] + ([last] if last else [])
