"""Small models in the place of the project's own, for tests of candidates, and a progress that remembers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from modelyard_build import measuring, models, pipeline
from modelyard_build.model import AnyModel, Arrays, Model
from modelyard_build.pipeline import Result
from modelyard_build.repository import config, layout
from modelyard_build.sources import ROOT
from modelyard_build.targets import CANDIDATES, target_of
from modelyard_build.targets.target import Candidate
from modelyard_build.wanted import serves
from modelyard_ops.building import serve_scratch
from support.small_models import POOLER, Pooler


class Steps:
    """A build's progress, remembered."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.said: list[str] = []

    @contextlib.contextmanager
    def step(self, model: str, step: str) -> Iterator[None]:
        """Remembers the step."""
        self.seen.append(step)
        yield

    def say(self, line: str) -> None:
        """Remembers the line."""
        self.said.append(line)


def candidate(name: str) -> Candidate:
    """The candidate of a name."""
    return next(item for item in CANDIDATES if item.name == name)


def config_for(name: str, model: Model = POOLER) -> str:
    """The config that the build would write for a candidate."""
    item = candidate(name)
    return config.render(model, serving=target_of(item).serving(item, model))


def declare_only(patch: pytest.MonkeyPatch, *declared: AnyModel, file: str = "errors.py") -> None:
    """Makes these the only models that the build knows.

    A source has to lie in the build package: theirs is said to be `file`, and another file is a changed source.
    """
    patch.setattr(models, "declared", lambda: (models.System("small", ROOT / file, declared),))


def short_rounds(patch: pytest.MonkeyPatch) -> None:
    """Measures for a moment: these tests look at what is measured, not at how fast it was."""
    patch.setattr(measuring, "BURST_S", 0.001)


class InProcess:
    """Answers as a server over a repository would, from the artefacts themselves. What a server brings is tested live.

    Attributes:
        repository: of PyTorch models that no ensemble uses.
    """

    def __init__(self, repository: Path) -> None:
        self.repository = repository

    def infer(self, model: str, inputs: Arrays, protocol: str) -> Arrays:
        """The answers of the candidate that the model's config serves."""
        stated = config.read(self.repository / model / layout.FILENAME)
        served = next(item for item in CANDIDATES if serves(stated, item))
        declared = models.find(model.partition("--")[0])
        assert isinstance(declared, Model)
        return target_of(served).runner(served, self.repository / model / "1", declared)(inputs)


@contextlib.contextmanager
def serve_in_process(repository: Path) -> Iterator[InProcess]:
    """In the place of a server, which takes seconds to start."""
    yield InProcess(repository)


@contextlib.contextmanager
def pooler_alone(cache: Path) -> Iterator[None]:
    """The pooler is every model there is, measured for a moment, in a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_CACHE", str(cache))
        declare_only(patch, POOLER)
        short_rounds(patch)
        yield


def build(repository: Path, *targets: str, progress: Steps | None = None, quality: str = "near") -> Sequence[Result]:
    """A real build of everything that is declared; a server starts only where there are ensembles or Python steps."""
    alone = all(isinstance(model, Model) for model in models.all_models())
    serve = serve_in_process if alone else serve_scratch
    return pipeline.build([], repository, serve, progress or Steps(), targets, quality)


class WrongWhenTraced(Pooler):
    """Answers otherwise while TorchScript traces it: right in every other form."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As the pooler."""
        scores: Tensor = super().forward(input_ids, attention_mask)
        return scores * 1.01 if torch._C._is_tracing() else scores


class Untraceable(Pooler):
    """Refuses to be traced by TorchScript."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As the pooler."""
        if torch._C._is_tracing():
            raise ValueError("this module is not for TorchScript")
        scores: Tensor = super().forward(input_ids, attention_mask)
        return scores


class WrongWhenExported(Pooler):
    """Answers otherwise in the ONNX graph."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As the pooler."""
        scores: Tensor = super().forward(input_ids, attention_mask)
        return scores * 1.01 if torch.compiler.is_exporting() else scores


def loading(module: type[Pooler]) -> Model:
    """The pooler's declaration with another module."""
    return replace(POOLER, load=lambda files: module().eval())
