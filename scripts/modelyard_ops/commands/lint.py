"""`modelyard lint`: what is wrong with a model repository, before a server starts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from modelyard_build.repository.lint.run import Finding
from modelyard_ops.errors import CannotRun
from modelyard_ops.linting import fixing
from modelyard_ops.linting.outputs import FORMATS, emit, wants_colour, written
from modelyard_ops.linting.run import Run
from modelyard_ops.linting.settings import chosen_rules, find_table, settings_of
from modelyard_ops.linting.targets import targets

EXIT_CLEAN, EXIT_FINDINGS = 0, 1
EPILOG = "Exit codes: 0 nothing was found; 1 something was; 2 lint could not run, the reason is on stderr."


def lint(arguments: Sequence[str]) -> int:
    """Check model repositories and the files that deploy them, without a server."""
    options = _parser().parse_args(arguments)
    table = find_table(_here())
    run = Run(
        targets(options.paths, table),
        settings_of(table, options.target_release, options.hardware),
        chosen_rules(_codes(options.select) or table.select, table.ignore + _codes(options.ignore)),
    )
    if options.diff:
        return _show_fixes(run)
    findings = _fix(run, options.format) if options.fix else run.findings({})
    report = run.report(findings)
    emit(written(report, options.format, colour=options.output is None and wants_colour()), options.output)
    return EXIT_FINDINGS if findings else EXIT_CLEAN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("modelyard lint", description=lint.__doc__, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="a repository, a model's folder, a config, a YAML file of Docker Compose or Kubernetes; by default "
        "model_repository/, and the Compose file and deploy/ where they are",
    )
    parser.add_argument("--target-release", metavar="26.06", help="the release of Triton's container that will serve")
    parser.add_argument(
        "--hardware", metavar="NAME", help="the machine that will: cpu, l4, h200, cpu:cores=16, here; by default any"
    )
    parser.add_argument(
        "--select", action="append", default=[], metavar="CODES", help="ask these rules only, such as MY1,MY201"
    )
    parser.add_argument("--ignore", action="append", default=[], metavar="CODES", help="do not ask these rules")
    parser.add_argument("--format", choices=list(FORMATS), default="text", help="by default text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to this file instead of stdout")
    fixing_options = parser.add_mutually_exclusive_group()
    fixing_options.add_argument("--fix", action="store_true", help="mend what has one safe mend, show the changes")
    fixing_options.add_argument("--diff", action="store_true", help="show what --fix would change, write nothing")
    return parser


def _here() -> Path:
    """The working directory.

    Raises:
        CannotRun: somebody removed it.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise CannotRun("the working directory is gone. Change into one that is there.") from None


def _codes(values: list[str]) -> tuple[str, ...]:
    """Codes that are separated by commas, or given one by one."""
    return tuple(code.strip() for value in values for code in value.split(",") if code.strip())


def _show_fixes(run: Run) -> int:
    mended = fixing.mend(run.findings)
    emit(fixing.diff(mended))
    emit(f"{fixing.summary(mended)}\n", to_stderr=True)
    return EXIT_FINDINGS if mended.after or mended.left else EXIT_CLEAN


def _fix(run: Run, format_: str) -> list[Finding]:
    """Mends what can be, and gives what is left."""
    mended = fixing.mend(run.findings)
    fixing.write(mended)
    # Of the other formats stdout holds one document.
    emit(fixing.diff(mended), to_stderr=format_ != "text")
    return mended.left
