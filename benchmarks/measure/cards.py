"""A card's candidates: made and proven as a build does, served side by side, each called the same way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from tritonclient import grpc

from measure import card_models
from measure.card_models import Card
from modelyard_build import scratch, verify
from modelyard_build.artefacts import Made, Workshop, make
from modelyard_build.assets import sha256_of
from modelyard_build.model import NUMPY_DTYPES, Arrays, Model
from modelyard_build.models import declared_in
from modelyard_build.plan import Planned
from modelyard_build.progress import Progress
from modelyard_build.repository import config, layout
from modelyard_build.repository.releases import target_release
from modelyard_build.sources import build_key, sources
from modelyard_build.stage import stage, warmup_tensors
from modelyard_build.targets import target_of
from modelyard_build.targets.target import Run
from modelyard_build.wanted import Wanted, wanted
from modelyard_server.process import ServerOptions, TritonServer, free_ports

TORCH_COMPILE = "torch.compile"
SERVED = ", served"


@dataclass(frozen=True)
class Built:
    """A card's model with every candidate that was proven here.

    Attributes:
        workshop: has its module and its assets.
        made: the candidates.
        missing: why others are none, by name.
    """

    workshop: Workshop
    made: list[Made]
    missing: dict[str, str]


def built(card: Card, targets: Sequence[str], progress: Progress) -> Built:
    """Makes and proves the candidates that run on this machine, or finds them in the cache.

    Raises:
        BuildError: the portable one fails, or a name is no target's.
    """
    files = {**sources(card.like, declared_in(card.like)), card.model.name: sha256_of(Path(card_models.__file__))}
    key = build_key(card.model, files, {})
    candidates = wanted(card.model, Path(), key, targets)
    missing = {one.candidate.name: why for one in candidates if (why := _cannot(one))}
    due = tuple(one for one in candidates if one.candidate.name not in missing)
    release = target_release()
    planned = Planned(card.model, Path(card.model.name), files, key, {}, None, "measured", due)
    workshop = Workshop(stage(planned, release, progress), release, progress)
    made = make(workshop, due)
    missing |= {one.name: one.refused for one in made if one.refused}
    return Built(workshop, [one for one in made if one.runs_here], missing)


def _cannot(one: Wanted) -> str:
    return one.unavailable or target_of(one.candidate).cannot_run(one.candidate)


def compiled(model: Model, module: nn.Module) -> Run:
    """The module through torch.compile, which needs a C++ compiler; it compiles when it is first called."""
    fast = cast(nn.Module, torch.compile(module))
    return lambda inputs: verify.run_module(model, fast, inputs)


@contextmanager
def served(found: Built, folder: Path) -> Iterator[dict[str, list[Run]]]:
    """Every candidate behind one Triton: for each, something to call for every instance."""
    model = found.workshop.model
    beside = found.workshop.staged.beside
    for one in found.made:
        own = folder / one.name
        (own / "1").mkdir(parents=True)
        text = config.render(
            replace(model, name=one.name),
            warmup_tensors(model, beside),
            target_of(one.wanted.candidate).serving(one.wanted.candidate, model),
        )
        (own / layout.FILENAME).write_bytes(config.bytes_of(text))
        for name, source in scratch.files_beside(beside).items():
            (own / name).parent.mkdir(exist_ok=True)
            (own / name).symlink_to(source.absolute())
        for path in one.folder.iterdir():
            (own / "1" / path.name).symlink_to(path.absolute())
    http_port, grpc_port, metrics_port = free_ports(3)
    with TritonServer(ServerOptions(folder, http_port, grpc_port, metrics_port)) as server:
        yield {
            f"{one.name}{SERVED}": [_calls(server.grpc_url, one.name, model) for _ in range(model.instance_count)]
            for one in found.made
        }


def _calls(url: str, name: str, model: Model) -> Run:
    """A caller of its own connection."""
    client = grpc.InferenceServerClient(url)

    def run(inputs: Arrays) -> Arrays:
        tensors = []
        for tensor in model.inputs:
            array = inputs[tensor.name]
            tensors.append(grpc.InferInput(tensor.name, array.shape, tensor.dtype))
            tensors[-1].set_data_from_numpy(array.astype(NUMPY_DTYPES[tensor.dtype], copy=False))
        answer = client.infer(name, tensors)
        return {tensor.name: np.asarray(answer.as_numpy(tensor.name)) for tensor in model.outputs}

    return run
