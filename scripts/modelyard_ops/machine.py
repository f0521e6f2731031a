"""Which configs a server takes on this machine: those for its kind where they stand, the portable ones elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelyard_build.repository import config, layout, versions
from modelyard_build.repository.device import chosen
from modelyard_build.repository.hardware import hardware
from modelyard_ops.console import stderr

# What asks for config.pbtxt everywhere.
PORTABLE = "default"


@dataclass(frozen=True)
class MachineConfigs:
    """The configs for a kind of machine.

    Attributes:
        name: what `--model-config-name` is given; None where no model has a config for this kind of machine.
        lines: for people: which models it concerns, and why.
        missing: for people: the configs whose file the newest version does not hold.
    """

    name: str | None
    lines: list[str]
    missing: list[str]


def machine_configs(repository: Path) -> MachineConfigs:
    """Looks for `<model>/configs/<this kind of machine>.pbtxt`.

    Raises:
        BuildError: a GPU is asked for that is not there, or a config cannot be read.
    """
    kind = hardware().name
    paths = sorted(repository.glob(f"*/{layout.CONFIGS}/{kind}.pbtxt"))
    if not paths:
        return MachineConfigs(None, [f"this machine is {kind}: no model has a config for it, config.pbtxt serves"], [])
    lines = [f"this machine is {kind}: {len(paths)} of the models have a config for it (--config-name default: none)"]
    missing = []
    for path in paths:
        model_folder = path.parents[1]
        lines.append(f"  {model_folder.name} serves {_summary(path)}")
        latest = versions.latest(model_folder)
        filename = filename_of(path)
        if latest is not None and not (latest / filename).exists():
            missing.append(
                f"{path} names {filename}, which version {latest.name} does not hold: the model will not load. Run: "
                f"modelyard build {model_folder.name}"
            )
    return MachineConfigs(kind, lines, missing)


def shows_gpus() -> bool | None:
    """What a server is told of the GPUs: that they are to be seen, that they are not, or that it depends."""
    return {"gpu": True, "cpu": False}.get(chosen().kind)


def announced_config_name(repository: Path, asked: str | None) -> str | None:
    """The config name for a server, said on stderr with the reason; what is asked for wins."""
    if asked is not None:
        return None if asked == PORTABLE else asked
    found = machine_configs(repository)
    # Where config.pbtxt serves as ever there is nothing to say.
    for line in found.lines if found.name else []:
        stderr.print(line, style="dim", markup=False, soft_wrap=True)
    for line in found.missing:
        stderr.print(line, style="yellow", markup=False, soft_wrap=True)
    return found.name


def filename_of(path: Path) -> str:
    """The file that a config serves on this machine."""
    gpu = hardware().gpu
    return config.filename(config.read(path), gpu.compute_capability if gpu else "")


def _summary(path: Path) -> str:
    """The config's file, and the reason that its head gives."""
    notes = [line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("# For ")]
    reason = f" ({notes[0].partition(': ')[2].rstrip('.')})" if notes else ""
    return f"{path.parent.name}/{path.name}{reason}"
