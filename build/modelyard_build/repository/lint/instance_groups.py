"""Where Triton puts the instances of a model, and how many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelyard_build.repository.lint.settings import Machine
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.binding import Path as FieldPath

GROUPS = "instance_group"
CPU, GPU, MODEL, UNKNOWN = "CPU", "GPU", "MODEL", "unknown"


def device(group: Any, machine: Machine | None) -> str:
    """What a group's instances run on: KIND_AUTO is a GPU where the machine has any, else the CPU.

    Args:
        group: of `instance_group`.
        machine: that serves; None: any.
    """
    kind = group.Kind.Name(group.kind) if group.kind in group.Kind.values() else ""
    if kind != "KIND_AUTO":
        return {"KIND_CPU": CPU, "KIND_GPU": GPU, "KIND_MODEL": MODEL}.get(kind, UNKNOWN)
    if machine is None:
        return UNKNOWN
    return GPU if machine.gpus else CPU


def stated_groups(config: Config) -> Iterator[tuple[FieldPath, Any, str]]:
    """Each instance group with its place and what it runs on."""
    for index, group in enumerate(config.message.instance_group):
        yield (GROUPS, index), group, device(group, config.settings.machine)


def devices(config: Config) -> set[str]:
    """What the instances of a model run on; without a group Triton makes one of KIND_AUTO."""
    machine = config.settings.machine
    if config.message.instance_group:
        return {device(group, machine) for group in config.message.instance_group}
    return {UNKNOWN if machine is None else GPU if machine.gpus else CPU}


def count(config: Config, group: Any) -> int:
    """How many instances a group has; one that states none gets the backend's default, 2 for onnxruntime on a CPU."""
    if group.count > 0:
        return int(group.count)
    return 2 if config.backend == "onnxruntime" and device(group, config.settings.machine) == CPU else 1


def cpu_instances(config: Config) -> int:
    """How many instances compute on the CPU, as far as it is stated."""
    groups = config.message.instance_group
    return sum(count(config, group) for group in groups if device(group, config.settings.machine) == CPU)
