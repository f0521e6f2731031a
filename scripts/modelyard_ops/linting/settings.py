"""The table [tool.modelyard.lint] of pyproject.toml, and what of it the command line overrides."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard_build.errors import BuildError
from modelyard_build.repository.lint.rule import Rule
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import UNPARSABLE
from modelyard_build.repository.lint.settings import Machine, Settings
from modelyard_ops.errors import CannotRun

FILENAME = "pyproject.toml"
TABLE = "tool.modelyard.lint"
# The machine that the command runs on.
HERE = "here"


@dataclass(frozen=True)
class Table:
    """What stands in pyproject.toml; empty values where nothing does.

    Attributes:
        target_release: Triton's release that will serve.
        hardware: the machine that will.
        select: codes of rules or their beginnings; empty: all.
        ignore: likewise, of those that are not asked.
        latency_budget_ms: what a request may take, by model; "*" for every other one.
        server_arguments: those of the server that are known; None: they are not.
        repositories: what is linted where no path is named; relative to the file they are made absolute.
        deployments: likewise, Compose and Kubernetes files or folders of them.
    """

    target_release: str = ""
    hardware: str = ""
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    latency_budget_ms: Mapping[str, float] = field(default_factory=dict)
    server_arguments: tuple[str, ...] | None = None
    repositories: tuple[Path, ...] = ()
    deployments: tuple[Path, ...] = ()


def find_table(folder: Path) -> Table:
    """The table of the nearest pyproject.toml that has one, from a folder upward.

    Raises:
        CannotRun: a file on the way is no TOML, or a key or value of the table is wrong.
    """
    for parent in (folder, *folder.parents):
        path = parent / FILENAME
        if path.is_file() and (read := _read(path)) is not None:
            return _table(read, path)
    return Table()


def _read(path: Path) -> dict[str, Any] | None:
    """The table as TOML has it; None where the file has none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        content = path.read_bytes()
        # Most files have no such table, and reading TOML takes longer than looking.
        found: Any = tomllib.loads(content.decode("utf-8")) if b"modelyard" in content else {}
    except (OSError, ValueError) as error:
        raise CannotRun(f"{path} cannot be read: {error}. Mend it; the settings of lint may stand there.") from None
    for name in TABLE.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if found is not None and not isinstance(found, dict):
        raise CannotRun(f"{path}: {TABLE} is {found!r}; expected a table: write [{TABLE}]")
    return found


def _table(read: dict[str, Any], path: Path) -> Table:
    values = {}
    for key, value in read.items():
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, 1)
            hint = f"did you mean {close[0]}?" if close else f"it can have {', '.join(_KEYS)}."
            raise CannotRun(f"{path}: [{TABLE}] has no key {key!r}; {hint}")
        expected, convert = _KEYS[key]
        converted = convert(value, path.parent)
        if converted is None:
            raise CannotRun(f"{path}: [{TABLE}] {key} is {value!r}; expected {expected}.")
        values[key.replace("-", "_")] = converted
    return Table(**values)


def _text(value: Any, folder: Path) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any, folder: Path) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        return None
    return tuple(value)


def _paths(value: Any, folder: Path) -> tuple[Path, ...] | None:
    texts = _texts(value, folder)
    return None if texts is None else tuple(folder / text for text in texts)


def _budgets(value: Any, folder: Path) -> dict[str, float] | None:
    if isinstance(value, int | float):
        value = {"*": value}
    if not isinstance(value, dict):
        return None
    # bool is an int, and no time.
    fitting = all(isinstance(each, int | float) and each is not True and each > 0 for each in value.values())
    return {name: float(each) for name, each in value.items()} if fitting else None


# By key: what is expected, and what makes it of a value of TOML; None: it is something else.
_KEYS: dict[str, tuple[str, Callable[[Any, Path], Any]]] = {
    "target-release": ('a release of Triton such as "26.06"', _text),
    "hardware": ('a machine such as "cpu:cores=16", or "here"', _text),
    "select": ('a list of codes or their beginnings, such as ["MY1", "MY201"]', _texts),
    "ignore": ('a list of codes or their beginnings, such as ["MY305"]', _texts),
    "latency-budget-ms": ('milliseconds above 0 by model, such as { "*" = 50, text_embedder = 30 }', _budgets),
    "server-arguments": ('a list such as ["--cache-config=local,size=1048576"]', _texts),
    "repositories": ('a list of folders, such as ["model_repository"]', _paths),
    "deployments": ('a list of files and folders, such as ["docker-compose.yml", "deploy"]', _paths),
}


def settings_of(table: Table, target_release: str | None, hardware: str | None) -> Settings:
    """What the rules are held against; the options of the command line go before the table.

    Raises:
        CannotRun: a release or a machine is not known.
    """
    from modelyard_build.repository.releases import DEFAULT_RELEASE, release

    named = hardware or table.hardware
    try:
        return Settings(
            release=release(target_release or table.target_release or DEFAULT_RELEASE),
            machine=_machine(named) if named else None,
            latency_budget_ms=table.latency_budget_ms,
            server_arguments=table.server_arguments,
        )
    except BuildError as error:
        raise CannotRun(str(error)) from None


def _machine(named: str) -> Machine:
    from modelyard_build.repository.lint.hardware import machine

    if named != HERE:
        return machine(named)
    from modelyard_build.repository.hardware import hardware

    this = hardware()
    return Machine(this.name, this.cores, this.gpu.compute_capability if this.gpu else "", 1 if this.gpu else 0)


def chosen_rules(select: tuple[str, ...], ignore: tuple[str, ...]) -> tuple[Rule, ...]:
    """The rules that are asked. Of a config that cannot be parsed nothing else is said, so that one always is asked.

    Args:
        select: codes or their beginnings; empty: all.
        ignore: likewise, of those that are not asked.

    Raises:
        CannotRun: no rule has such a code.
    """
    for text in (*select, *ignore):
        if not any(rule.code.startswith(text) for rule in RULES):
            close = difflib.get_close_matches(text, [rule.code for rule in RULES], 1)
            hint = f"did you mean {close[0]}?" if close else "`modelyard rule` lists them all."
            raise CannotRun(f"no rule has the code {text!r}, nor one that begins so; {hint}")
    selected = (*select, UNPARSABLE) if select else ("",)
    return tuple(rule for rule in RULES if rule.code.startswith(selected) and not rule.code.startswith(ignore))
