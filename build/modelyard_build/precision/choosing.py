"""The search for what stays in float32, with the graphs built, measured and shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import onnx

from modelyard_build.precision import sensitivity
from modelyard_build.precision.errors import PrecisionFailed
from modelyard_build.precision.yardstick import MARGIN, Yardstick
from modelyard_build.targets.target import Source

T = TypeVar("T")


@dataclass
class Choice(Generic[T]):
    """What is chosen from, and how.

    Attributes:
        precision: what the rest is converted to.
        candidates: what may be converted.
        rank: orders the candidates, those that cost the most accuracy first; called at most once, and not at all
            where everything can be converted.
        build: the graph with these candidates left in float32.
        yardstick: measures it.
        source: the model, and where progress is shown.
        bound: how much of the allowed error may be used up.
    """

    precision: str
    candidates: Sequence[T]
    rank: Callable[[], Sequence[T]]
    build: Callable[[Sequence[T]], onnx.ModelProto]
    yardstick: Yardstick
    source: Source
    bound: float = MARGIN

    def choose(self) -> tuple[Sequence[T], sensitivity.Search]:
        """The candidates that stay in float32, the worst first, and the search that found them.

        Raises:
            PrecisionFailed: nothing short of all is enough.
        """
        name, count = self.source.model.name, len(self.candidates)
        ranked: list[T] = []

        def measure(kept: int) -> float:
            if kept and not ranked:
                with self.source.progress.step(name, f"find what {self.precision} costs in each of {count} places"):
                    ranked.extend(self.rank())
            with self.source.progress.step(name, f"measure {self.precision} with {kept} of {count} in float32"):
                error = self.yardstick.error(self.build(ranked[:kept]))
            self.source.progress.say(
                f"{name}: {self.precision} with {kept} of {count} places in float32: {error:.2f} of the error allowed"
            )
            return error

        found = sensitivity.search(count, measure, self.bound)
        if found is None:
            raise PrecisionFailed(
                f"{name}: {self.precision} keeps the asked quality only when everything stays in float32. Look at "
                "the model's calibration data, or leave this precision out."
            )
        return ranked[: found.excluded], found


def steps(found: sensitivity.Search) -> list[dict[str, Any]]:
    """The steps of a search, for the manifest."""
    return [{"kept_places": count, "error_of_allowed": float(f"{error:.4g}")} for count, error in found.steps]
