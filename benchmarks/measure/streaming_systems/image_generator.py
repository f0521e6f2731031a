"""`image_generator`, beside the artefact that its net is served as: as many as Triton has, in the step's batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from measure.repositories import stated_config
from measure.served import Tensors
from measure.streaming_systems.system import Own, Streamed
from measure.system import InProcess, served_candidate
from modelyard_build.assets import fetch
from modelyard_build.models.image_generator import GENERATOR, NET
from modelyard_build.sources import pinned_assets

SECONDS = 5.0


def request(number: int, size: int) -> Tensors:
    """So many images of a seed."""
    return {"seed": np.array([number], np.int64), "count": np.array([size], np.int64)}


def own(repository: Path, config_name: str) -> Own:
    """Instances that are never without work: the same for any number of requests."""
    candidate = served_candidate(repository, NET, config_name)
    parameters = stated_config(repository, GENERATOR.name, config_name).parameters
    rows = int(parameters["images_per_call"].string_value)
    examples = NET.examples(fetch(pinned_assets(NET), print), rows, {})
    items = [{name: array[at : at + 1] for name, array in examples.items()} for at in range(rows)]
    running = InProcess(candidate, repository, replace(NET, max_batch_size=rows), items)
    return Own(candidate.name, lambda requests: running.throughput(SECONDS))


IMAGE_GENERATOR = Streamed(items="images", size=8, request=request, count=lambda response: 1, own=own)
