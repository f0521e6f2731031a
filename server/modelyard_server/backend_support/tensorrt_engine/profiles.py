"""Optimization profiles: which of them an instance has, and which one runs a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard_server.backend_support.errors import ExecutionError, ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.signature import show_dims
from modelyard_server.backend_support.tensorrt_engine.library import Library

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Bounds:
    """The shapes that a profile has for one input."""

    minimum: Shape
    optimum: Shape
    maximum: Shape

    def hold(self, shape: Shape) -> bool:
        """Whether a shape lies between minimum and maximum."""
        return len(shape) == len(self.minimum) and all(
            low <= size <= high for low, size, high in zip(self.minimum, shape, self.maximum, strict=True)
        )

    def distance(self, shape: Shape) -> int:
        """How far a shape is from the optimum, added up over its dimensions."""
        return sum(abs(size - best) for size, best in zip(shape, self.optimum, strict=True))

    def __str__(self) -> str:
        return f"{show_dims(self.minimum)} to {show_dims(self.maximum)}"


Profile = Mapping[str, Bounds]
"""By input."""


def configured_profiles(config: ModelConfig, instance: str, count: int, library: Library) -> list[int]:
    """The numbers of the profiles that an instance serves: those of its `instance_group`, or the library's default.

    Args:
        config: The model's configuration.
        instance: The instance's name, which begins with its group's.
        count: How many profiles the engine has.
        library: What runs the engine.

    Raises:
        ModelLoadError: A name is no number of a profile.
    """
    default = ["0"] if library.lists_profiles else [str(number) for number in range(count)]
    names = _group(config, instance).get("profile") or default
    for name in names:
        if not (name.isascii() and name.isdigit()) or int(name) >= count:
            raise ModelLoadError(
                f"instance_group has profile '{name}', and the engine has the optimization profiles 0 to {count - 1}: "
                "list these"
            )
    return sorted({int(name) for name in names})


def choose_profile(profiles: Mapping[int, Profile], shapes: Mapping[str, Shape]) -> int:
    """The profile that holds a batch's shapes, and whose optimum is nearest to them.

    Args:
        profiles: Those of the instance, by number.
        shapes: Of every input.

    Raises:
        ExecutionError: None holds them.
    """
    fitting = {
        number: sum(bounds.distance(shapes[name]) for name, bounds in profile.items())
        for number, profile in profiles.items()
        if all(bounds.hold(shapes[name]) for name, bounds in profile.items())
    }
    if not fitting:
        raise ExecutionError(_nothing_fits(profiles, shapes))
    return min(fitting, key=fitting.__getitem__)


def largest_batch(profiles: Sequence[Profile]) -> int:
    """The largest batch that one of the profiles takes."""
    return max(min(bounds.maximum[0] for bounds in profile.values()) for profile in profiles)


def _group(config: ModelConfig, instance: str) -> Mapping[str, Any]:
    groups: Sequence[Mapping[str, Any]] = config.raw.get("instance_group", [])
    own = [group for group in groups if f"{instance}_".startswith(f"{group.get('name')}_")]
    return max(own, key=lambda group: len(group["name"]), default={})


def _nothing_fits(profiles: Mapping[int, Profile], shapes: Mapping[str, Shape]) -> str:
    for name, shape in shapes.items():
        ranges = [f"{number}: {profile[name]}" for number, profile in profiles.items() if name in profile]
        if ranges and not any(profile[name].hold(shape) for profile in profiles.values()):
            return f"input '{name}' has shape {show_dims(shape)}, expected one of profile {'; '.join(ranges)}"
    given = ", ".join(f"'{name}' {show_dims(shape)}" for name, shape in shapes.items())
    return f"no optimization profile holds {given} together: send a smaller batch, or build a profile for it"
