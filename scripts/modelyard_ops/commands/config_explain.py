"""`modelyard config explain`: what a config comes to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard_ops.console import print_json, stdout
from modelyard_ops.errors import OpsError
from modelyard_ops.paths import DEFAULT_REPOSITORY, existing_repository

if TYPE_CHECKING:
    from modelyard_build.repository.explain.effects import Context, Measured
    from modelyard_build.repository.explain.settings import Setting
    from modelyard_build.repository.lint.subjects import Config


def explain(
    model: Annotated[str, typer.Argument(help="A model of the repository.")],
    config: Annotated[str, typer.Option(help="configs/NAME.pbtxt instead of config.pbtxt.")] = "",
    repository: Annotated[Path, typer.Option(help="The model repository.")] = DEFAULT_REPOSITORY,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON on stdout.")] = False,
) -> None:
    """Every setting that Triton will use, where it is from, and what it does to batching and latency."""
    from modelyard_build.repository.explain.effective import effective
    from modelyard_build.repository.explain.settings import settings

    found = find_config(existing_repository(repository), model, config)
    context, kind = _context(found)
    complete = effective(found, has_gpu=kind.startswith("gpu"))
    rows = settings(found, complete, dataclasses.replace(context, message=complete.message))
    if as_json:
        print_json({"model": model, "settings": [_row(row) for row in rows], "hints": complete.hints})
        return
    _show(found, rows, context.measured)
    for hint in complete.hints:
        stdout.print(hint, style="yellow", markup=False, soft_wrap=True)


def find_config(repository: Path, model: str, name: str) -> Config:
    """A model's config.pbtxt, or its configs/NAME.pbtxt.

    Raises:
        OpsError: there is none, or Triton could not read it.
    """
    from modelyard_build.repository.layout import CONFIGS
    from modelyard_build.repository.lint.settings import Settings
    from modelyard_build.repository.lint.subjects import Repository

    models = Repository(repository, Settings()).models
    if model not in models:
        raise OpsError(f"{repository} has no model {model!r}; it has {', '.join(models) or 'none'}.")
    wanted = f"{CONFIGS}/{name}.pbtxt" if name else "config.pbtxt"
    configs = {config.path.relative_to(models[model].folder).as_posix(): config for config in models[model].configs}
    if wanted not in configs:
        raise OpsError(f"{models[model].folder} has no {wanted}; it has {', '.join(configs) or 'no config'}.")
    found = configs[wanted]
    if not found.is_valid:
        raise OpsError(f"{found.path} is not a config that Triton can read. `modelyard lint {found.path}` says why.")
    return found


def _context(config: Config) -> tuple[Context, str]:
    from modelyard_build.repository.explain.effects import Context
    from modelyard_build.repository.hardware import hardware

    here = hardware()
    return Context(config.message, here.cores, _measured(config, here.name)), here.name


def _measured(config: Config, kind: str) -> Measured | None:
    """What the newest served version's manifest has of the config's file, measured on this kind of machine."""
    from modelyard_build.repository.explain.effects import Measured

    manifest = config.served[-1].manifest if config.served else {}
    measurement = manifest.get("measurements", {}).get(kind, {})
    for name, candidate in manifest.get("candidates", {}).items():
        figures = measurement.get("candidates", {}).get(name)
        if figures and candidate["files"] and _serves(config, name, candidate["files"]):
            where = f"{kind}, {measurement['cores']} cores"
            return Measured(where, measurement["batch"], figures["latency_ms"], figures["throughput"])
    return None


def _serves(config: Config, name: str, files: list[str]) -> bool:
    """Whether a config serves a candidate: its file, its backend and, for OpenVINO, its precision."""
    parameters = config.message.parameters
    bf16 = "HINT_BF16" in parameters and parameters["HINT_BF16"].string_value == "YES"
    return (
        config.filename in files
        and name.startswith(f"{config.backend}-")
        and (config.backend != "openvino" or bf16 == name.endswith("-bf16"))
    )


def _row(setting: Setting) -> dict[str, object]:
    return {**dataclasses.asdict(setting), "origin": setting.origin.value}


def _show(config: Config, rows: list[Setting], measured: Measured | None) -> None:
    _line(str(config.path), "bold")
    if measured:
        _line(
            f"measured on {measured.hardware}: one item {measured.latency_ms:.1f} ms, "
            f"batches of {measured.batch} {measured.throughput:.0f} items/s",
            "dim",
        )
    for row in rows:
        where = f"line {row.line}" if row.line else row.origin.value
        _line(f"\n{row.path} = {row.value}" if row.value else f"\n{row.path}", "cyan" if row.line else "")
        _line(f"    {where}. {row.effect}".rstrip(), "" if row.line else "dim")


def _line(text: str, style: str = "") -> None:
    stdout.print(text, style=style or None, markup=False, soft_wrap=True)
