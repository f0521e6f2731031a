"""`modelyard config`: a config changed without a slip, two held side by side, one explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard_ops.commands.config_explain import explain, find_config
from modelyard_ops.errors import CannotRun, OpsError
from modelyard_ops.paths import DEFAULT_REPOSITORY, existing_repository

if TYPE_CHECKING:
    from modelyard_build.repository.config_difference import Difference, Side
    from modelyard_build.repository.lint.run import Finding
    from modelyard_build.repository.lint.subjects import Config
    from modelyard_build.repository.text_format.edit import Editor

EXIT_DIFFERENT = 1

app = typer.Typer(help="What the configs of models say: change, compare, explain.", no_args_is_help=True)
app.command("explain")(explain)


@app.command("set", epilog="Exit codes: 0 written, or nothing to change; 1 refused, nothing was written.")
def set_(
    model: Annotated[str, typer.Argument(help="A model of the repository.")],
    assignments: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH=VALUE",
            help="Such as dynamic_batching.max_queue_delay_microseconds=2000, input[NAME].dims=[-1,8], "
            "parameters[KEY]=VALUE, instance_group[0].count=2. PATH= without a value takes the field out.",
        ),
    ],
    config: Annotated[str, typer.Option(help="configs/NAME.pbtxt instead of config.pbtxt.")] = "",
    repository: Annotated[Path, typer.Option(help="The model repository.")] = DEFAULT_REPOSITORY,
) -> None:
    """Change settings of a config in its text: comments, order and form stay; all of them or none.

    The new text is linted before it is written: what would be a new error is refused, new warnings are told.
    """
    from modelyard_build.repository.model_config import ModelConfig
    from modelyard_build.repository.text_format.edit import Editor
    from modelyard_ops.console import stdout
    from modelyard_ops.linting import fixing

    root = existing_repository(repository)
    found = find_config(root, model, config)
    editor = Editor(found.text, ModelConfig)
    for assignment in assignments:
        _assign(editor, assignment)
    if editor.text == found.text:
        stdout.print(f"{found.path} says so already; nothing was changed.", soft_wrap=True)
        return
    changed = fixing.Mended(before={found.path: found.text}, after={found.path: editor.text})
    warnings = _new_findings(root, found.path, editor.text)
    fixing.write(changed)
    stdout.print(fixing.diff(changed), markup=False, end="", soft_wrap=True)
    for line in warnings:
        stdout.print(line, style="yellow", markup=False, soft_wrap=True)


@app.command("diff", epilog="Exit codes: 0 they say the same; 1 they differ; 2 they could not be compared.")
def diff(
    model: Annotated[str, typer.Argument(help="A model of the repository.")],
    hardware: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="configs/NAME.pbtxt; given twice, those two instead of config.pbtxt."),
    ] = None,
    repository: Annotated[Path, typer.Option(help="The model repository.")] = DEFAULT_REPOSITORY,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON on stdout.")] = False,
) -> None:
    """What two configs of a model say differently, with lines; order, form and comments are no difference."""
    from modelyard_build.repository.config_difference import differences
    from modelyard_ops.console import print_json

    root = existing_repository(repository)
    try:
        one, other = (find_config(root, model, name) for name in _compared(root / model, hardware or []))
    except OpsError as error:
        raise CannotRun(str(error)) from None
    found = differences(one, other)
    if as_json:
        print_json({"one": str(one.path), "other": str(other.path), "differences": [_row(row) for row in found]})
    else:
        _show(one, other, found)
    if found:
        raise typer.Exit(EXIT_DIFFERENT)


def _assign(editor: Editor, assignment: str) -> None:
    """Makes one assignment.

    Raises:
        OpsError: it is none, or the field does not take the value.
    """
    from modelyard_build.repository.model_config import ModelConfig
    from modelyard_build.repository.text_format import paths

    try:
        steps, rest = paths.split(assignment)
        if not rest.startswith("="):
            raise LookupError(f"a '=' is expected before {rest!r}" if rest else "a '=' and a value are expected")
        path = paths.resolve(steps, editor.message)
        if not rest[1:].strip():
            editor.remove(path)
            return
        if not rest[1:].strip().startswith(("{", "<")):
            path = paths.into_only_field(ModelConfig.DESCRIPTOR, path)
        editor.assign(path, paths.value_of(ModelConfig.DESCRIPTOR, path, rest[1:]))
    except (LookupError, ValueError) as error:
        reason = str(error.args[0])
        raise OpsError(f"{assignment}: {reason}{'' if reason.endswith('?') else '.'} Nothing was written.") from None


def _new_findings(repository: Path, path: Path, text: str) -> list[str]:
    """The warnings that a text brings with it, in lines for people.

    Raises:
        OpsError: it brings errors.
    """
    from modelyard_build.repository.lint.rule import Severity
    from modelyard_ops.linting.run import Run
    from modelyard_ops.linting.settings import chosen_rules, find_table, settings_of
    from modelyard_ops.linting.targets import Targets

    table = find_table(Path.cwd())
    run = Run(Targets([repository]), settings_of(table, None, None), chosen_rules(table.select, table.ignore))
    before = Counter(_known(finding) for finding in run.findings({}))
    found = []
    for finding in run.findings({path: text}):
        before[_known(finding)] -= 1
        if before[_known(finding)] < 0:
            found.append(finding)
    if errors := [_said(finding) for finding in found if finding.severity is Severity.ERROR]:
        raise OpsError("\n".join(["Triton would not serve that; nothing was written.", *errors]))
    return [_said(finding) for finding in found]


def _known(finding: Finding) -> tuple[str, Path, str]:
    """What makes two findings the same, wherever their lines have moved."""
    return finding.rule.code, finding.path, finding.message


def _said(finding: Finding) -> str:
    place = f"{finding.path}:{finding.line}" if finding.line else str(finding.path)
    return f"{place}: {finding.rule.code} {finding.message}. {finding.rule.mend}"


def _compared(folder: Path, hardware: Sequence[str]) -> tuple[str, str]:
    """The names of the two configs that are compared; config.pbtxt has none.

    Raises:
        OpsError: the names are not one or two, and it is not plain which one is meant.
    """
    if len(hardware) == 2:
        return hardware[0], hardware[1]
    if len(hardware) == 1:
        return "", hardware[0]
    there = sorted(path.stem for path in (folder / "configs").glob("*.pbtxt"))
    if not hardware and len(there) == 1:
        return "", there[0]
    named = ", ".join(there) or "none"
    raise OpsError(f"{folder} has {named} under configs/; name one or two of them with --hardware.")


def _row(row: Difference) -> dict[str, object]:
    return {"field": row.field, "one": vars(row.one), "other": vars(row.other)}


def _show(one: Config, other: Config, found: Sequence[Difference]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from modelyard_ops.console import stdout

    names = [config.path.relative_to(config.model.folder).as_posix() for config in (one, other)]
    if not found:
        stdout.print(f"{one.model.name}: {names[0]} and {names[1]} say the same", soft_wrap=True)
        return
    table = Table("field", *names, box=None, pad_edge=False)
    for row in found:
        table.add_row(*(escape(text) for text in (row.field, _side(row.one), _side(row.other))))
    stdout.print(table)


def _side(side: Side) -> str:
    return f"{side.value}  (line {side.line})" if side.line else "not stated"
