"""What a target is: a Triton backend that takes a built artefact, and the candidates that it can make of a model.

A target's file imports its library inside the functions that need it: the list of targets is read by commands that
must start at once, on machines that have none of these libraries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from modelyard_build.model import Arrays, Model
from modelyard_build.progress import Progress
from modelyard_build.quality import Quality
from modelyard_build.repository.config import Serving
from modelyard_build.repository.hardware import Hardware
from modelyard_build.repository.releases import Release

if TYPE_CHECKING:
    from torch import nn

Run: TypeAlias = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Candidate:
    """One way to serve a model: an artefact, its precision, and the fields of config.pbtxt that go with it.

    Attributes:
        name: target and precision, such as "openvino-bf16"; unique among all targets.
        target: the target's name.
        precision: in what most of it computes: "fp32", "fp16", "bf16", "int8" or "fp8".
        graph: the precision of the ONNX graph that the artefact is written from.
        filename: the artefact's main file in the version folder: config.pbtxt's `default_model_filename`.
        quality: how far it may be from PyTorch.
        platform: config.pbtxt's `platform`, where the backend tells kinds of files apart by it.
        parameters: config.pbtxt's `parameters`, beyond those of every candidate of the target.
        cpu_accelerator: config.pbtxt's `optimization.execution_accelerators.cpu_execution_accelerator`.
        gpu_accelerator: the same for `gpu_execution_accelerator`, as name and parameters.
        needs_gpu: whether it runs on a GPU only.
        by_hand: why no config is written for it, however fast it is; empty for the others.
    """

    name: str
    target: str
    precision: str
    graph: str
    filename: str
    quality: Quality
    platform: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    cpu_accelerator: str = ""
    gpu_accelerator: tuple[str, Mapping[str, str]] | None = None
    needs_gpu: bool = False
    by_hand: str = ""


def of_items(model: Model, run: Run) -> Run:
    """What runs a batch, as what runs any number of items: where the model does not batch, one after the other."""
    if model.max_batch_size:
        return run

    def one_by_one(inputs: Arrays) -> Arrays:
        count = len(next(iter(inputs.values())))
        answers = [run({name: array[at] for name, array in inputs.items()}) for at in range(count)]
        return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}

    return one_by_one


@dataclass(frozen=True)
class Source:
    """What an artefact is made from.

    Attributes:
        model: the declaration.
        files: the fetched assets, by name.
        module: gives the PyTorch module: float32, eval mode, on the CPU.
        graph: `graph(precision)`: the ONNX graph in that precision, a file (its external data beside it).
        release: the Triton release that is to load it.
        progress: shows the work.
    """

    model: Model
    files: Mapping[str, Path]
    module: Callable[[], nn.Module]
    graph: Callable[[str], Path]
    release: Release
    progress: Progress


class Target(ABC):
    """A Triton backend that takes a built artefact.

    Attributes:
        name: Triton's name of the backend, as in config.pbtxt.
        distributions: the PyPI distributions whose versions decide what is written; they enter the artefact's key.
        candidates: what it can make of a model.
        instance_kind: the `kind` of its instance_group.
    """

    name: str
    distributions: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    instance_kind: str = "KIND_AUTO"

    @abstractmethod
    def missing(self, candidate: Candidate) -> str:
        """Why the candidate cannot be built on this machine, in one line with the mend; empty when it can be."""

    @abstractmethod
    def write(self, candidate: Candidate, source: Source, folder: Path) -> dict[str, Any]:
        """Writes the artefact's files into a folder, the main one under `candidate.filename`.

        Returns:
            What the manifest records of it beside the files' hashes: fused operators, profiles, the target lock.

        Raises:
            BuildError: the artefact cannot be made of this model.
        """

    @abstractmethod
    def cannot_run(self, candidate: Candidate) -> str:
        """Why the artefact cannot run in this process, in one line; empty when it can."""

    @abstractmethod
    def runner(self, candidate: Candidate, folder: Path, model: Model) -> Run:
        """Loads the artefact as its backend does; a run takes what a request gives it, see `of_items`.

        Args:
            candidate: what is run.
            folder: the folder that `write` filled.
            model: the declaration.

        Raises:
            BuildError: the library does not load it.
        """

    def instances(self, candidate: Candidate, folder: Path, model: Model) -> list[Run]:
        """As many as serve the model at once, each for a caller of its own; see `runner`."""
        return [self.runner(candidate, folder, model) for _ in range(model.instance_count)]

    def here(self, candidate: Candidate) -> Candidate:
        """The candidate as it is made on this machine, where its files are for one kind of device."""
        return candidate

    def device_key(self) -> str:
        """What of this machine decides the files; empty where they are for every machine."""
        return ""

    def serving(self, candidate: Candidate, model: Model) -> Serving:
        """The lines of a config that serves the candidate."""
        return Serving(
            self.name,
            candidate.filename,
            candidate.platform,
            self.instance_kind,
            candidate.parameters,
            candidate.cpu_accelerator,
            candidate.gpu_accelerator,
        )

    def served_quality(self, candidate: Candidate, hardware: Hardware) -> Quality:
        """The class that the served answers on a machine are held to, where it is not the candidate's own."""
        return candidate.quality
