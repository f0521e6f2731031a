"""What the rules about warmup samples share: the samples of a config."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modelyard_build.repository.lint.subjects import Config


@dataclass(frozen=True)
class Sample:
    """One that Triton runs before the model is ready.

    Attributes:
        index: among the samples.
        message: what the config says of it.
    """

    index: int
    message: Any

    @property
    def path(self) -> tuple[str, int]:
        """Where it stands."""
        return "model_warmup", self.index

    def __str__(self) -> str:
        return f"warmup sample {self.message.name!r}" if self.message.name else f"warmup sample {self.index}"


def stated_samples(config: Config) -> Iterator[Sample]:
    """Every sample of a config; an ensemble's are refused, and told of as such."""
    if not config.is_ensemble:
        for index, message in enumerate(config.message.model_warmup):
            yield Sample(index, message)


def run_samples(config: Config) -> Iterator[Sample]:
    """Those that Triton does not skip."""
    return (sample for sample in stated_samples(config) if sample.message.batch_size)
