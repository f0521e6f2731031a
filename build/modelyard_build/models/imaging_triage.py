"""`imaging_triage`: a chest X-ray in, a calibrated probability of a pneumonia and what comes first out (Xception).

A demonstration, not medical. The net saw a few thousand X-rays of children from one hospital; nothing that comes out of
here may decide on anybody's care.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelyard_build import steps, temperature
from modelyard_build.assets import Asset
from modelyard_build.datasets import chest_xrays
from modelyard_build.model import (
    Array,
    Arrays,
    DynamicBatching,
    Ensemble,
    Evaluation,
    Model,
    PythonModel,
    QueuePolicy,
    Step,
    Tensor,
)
from modelyard_build.nets import xception_assets

if TYPE_CHECKING:
    from torch import nn

DEMONSTRATION = "a demonstration, not medical"
SIZE = 150
MAX_BATCH_SIZE, OPTIMUM_BATCH_SIZE = 8, 4
# Requests that the net joins: an urgent one waits for the batch that runs and for its own, and on a CPU a batch takes
# nearly as long as its items one by one.
AT_ONCE = 2
URGENT_LEVEL, ROUTINE_LEVEL = 1, 2
TIMEOUT_MICROSECONDS = 30_000_000
# What recipes/imaging_triage.py found.
TEMPERATURE = 1.46
CALIBRATION, BRIER, IN_SAMPLE, LEFT_OUT = "calibration error", "Brier score", "in-sample", "leave-one-out"
# A pneumonia that waits weighs as much as three that are hurried without one.
URGENT_THRESHOLD = 0.25
IMAGE = Tensor("image", "BYTES", (1,))
PIXELS = Tensor("pixels", "UINT8", (SIZE, SIZE, 3))
LOGITS = Tensor("logits", "FP32", (len(chest_xrays.LABELS),), labels=chest_xrays.LABELS)
SCORES = Tensor("scores", "FP32", (len(chest_xrays.LABELS),), labels=chest_xrays.LABELS)
PROBABILITIES = Tensor("probabilities", "FP32", (len(chest_xrays.LABELS),), labels=chest_xrays.LABELS)
LABEL = Tensor("label", "BYTES", (1,))
RECOMMENDATION = Tensor("recommendation", "BYTES", (1,))
THRESHOLD = Tensor("urgent_threshold", "FP32", (1,))
ASSETS: Mapping[str, Asset] = chest_xrays.XRAYS
EVALUATION_SHA256 = hashlib.sha256("".join(asset.sha256 for asset in ASSETS.values()).encode()).hexdigest()
# Those that are kept beside the models: the X-rays themselves may not be passed on.
PHANTOMS = 8
REFERENCE_BATCH = 16
FINDING = chest_xrays.LABELS.index(chest_xrays.PNEUMONIA)


def load(files: Mapping[str, Path]) -> nn.Module:
    """The net with its weights."""
    from modelyard_build.nets.xception import load_xception

    return load_xception(files)


def example_files(files: Mapping[str, Path]) -> Iterator[bytes]:
    """Drawn chests, the X-rays as they are, then parts of them."""
    parts = (part for _, views in chest_xrays.views(files, tuple(files_of(files))) for part in views[1:])
    yield from chain(chest_xrays.phantoms(PHANTOMS), chest_xrays.whole(files), parts)


def files_of(files: Mapping[str, Path]) -> list[str]:
    """The names of the X-rays among the files."""
    return [name for name in chest_xrays.XRAYS if name in files]


def example_images(files: Mapping[str, Path], batch: int) -> Arrays:
    """`image`, BYTES [batch, 1]."""
    return {"image": _column(islice(example_files(files), batch))}


def example_pixels(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """`pixels`, uint8 [batch, 150, 150, 3], of the same images."""
    return decoded(files, example_images(files, batch))


def example_logits(files: Mapping[str, Path], batch: int) -> Arrays:
    """`logits`, float32 [batch, 2]: as far apart as those of real X-rays, either way."""
    apart = np.linspace(-9, 9, batch)
    return {"logits": np.stack([-0.4 * apart, 0.6 * apart], 1).astype(np.float32)}


def extreme_logits(files: Mapping[str, Path]) -> list[Arrays]:
    """Equal ones, and the largest that there are."""
    largest = float(np.finfo(np.float32).max)
    rows = [(0, 0), (100, 100), (largest, -largest), (-largest, largest), (largest, largest)]
    return [{"logits": np.array(rows, np.float32)}]


def _column(contents: Iterator[bytes]) -> Array:
    return np.array(list(contents), dtype=np.object_).reshape(-1, 1)


def decoded(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What the decoding step must give: what the net was trained with."""
    from modelyard_build.nets.pixels import stretched_pixels_of

    return {"pixels": np.stack([stretched_pixels_of(content, SIZE) for content in inputs["image"].reshape(-1)])}


def decided(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What the deciding step must give."""
    probabilities = temperature.scaled(inputs["logits"], TEMPERATURE).astype(np.float32)
    threshold = np.float32(URGENT_THRESHOLD)
    urgent = probabilities[:, FINDING] >= threshold
    return {
        "scores": inputs["logits"],
        "probabilities": probabilities,
        "label": _column(chest_xrays.LABELS[index].encode() for index in probabilities.argmax(-1)),
        "recommendation": _column(b"urgent" if one else b"routine" for one in urgent),
        "urgent_threshold": np.full((len(urgent), 1), threshold),
    }


def decided_exactly(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """The floats of the same in float64."""
    return {"probabilities": temperature.scaled(inputs["logits"], TEMPERATURE)}


def scored(files: Mapping[str, Path], images: Array) -> npt.NDArray[np.float32]:
    """The logits that Pillow and PyTorch give: BYTES [items, 1] -> float32 [items, 2]."""
    import torch

    net, rows = load(files), []
    for start in range(0, len(images), REFERENCE_BATCH):
        pixels = decoded(files, {"image": images[start : start + REFERENCE_BATCH]})["pixels"]
        with torch.inference_mode():
            rows.append(net(torch.from_numpy(pixels)).numpy())
    return np.concatenate(rows)


def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What Pillow, PyTorch and numpy answer."""
    return decided(files, {"logits": scored(files, inputs["image"])})


def evaluation_data(files: Mapping[str, Path]) -> tuple[Arrays, npt.NDArray[np.int64]]:
    """Every X-ray in `chest_xrays.VIEWS` views, the whole first, and what was found in each."""
    found = list(chest_xrays.views(files, files_of(files)))
    truth = np.repeat(np.array([finding for finding, _ in found]), chest_xrays.VIEWS)
    return {"image": _column(chain.from_iterable(views for _, views in found))}, truth


def figures(outputs: Arrays, truth: Array) -> Mapping[str, float]:
    """How often the most probable class is right, and how far the probabilities are from what is the case.

    *In-sample*: the temperature was fitted on the very X-rays that it is judged on. *Leave-one-out*: each X-ray is
    judged with the temperature that the others give. None changes which class is the most probable.
    """
    ways = {IN_SAMPLE: outputs["probabilities"], LEFT_OUT: ways_to_scale(outputs["scores"], truth)[LEFT_OUT]}
    return {
        "accuracy": float((outputs["probabilities"].argmax(-1) == truth).mean()),
        **{f"{CALIBRATION}, {way}": temperature.expected_calibration_error(ways[way], truth) for way in ways},
        **{f"{BRIER}, {way}": temperature.brier_score(ways[way], truth) for way in ways},
    }


def details(outputs: Arrays, truth: Array) -> Mapping[str, Any]:
    """What the temperature brought, in-sample and leave-one-out; what is found and missed of the X-rays as they are."""
    ways = ways_to_scale(outputs["scores"], truth)
    whole, urgent = slice(None, None, chest_xrays.VIEWS), outputs["recommendation"][:, 0] == b"urgent"
    sick = truth[whole] == FINDING
    return {
        "note": f"{DEMONSTRATION}; {len(sick)} X-rays of children, {chest_xrays.VIEWS} views of each: too few to tell",
        CALIBRATION: {
            name: round(temperature.expected_calibration_error(shares, truth), 4) for name, shares in ways.items()
        },
        "X-rays": len(sick),
        "X-rays right": int((outputs["probabilities"][whole].argmax(-1) == truth[whole]).sum()),
        "urgent with a pneumonia": f"{int(urgent[whole][sick].sum())} of {int(sick.sum())}",
        "urgent without": f"{int(urgent[whole][~sick].sum())} of {int((~sick).sum())}",
    }


def ways_to_scale(logits: Array, truth: Array, found: float = TEMPERATURE) -> dict[str, Array]:
    """The probabilities before a temperature, after it (in-sample), and with one that the other X-rays give to each."""
    groups = np.arange(len(truth)) // chest_xrays.VIEWS
    return {
        "before": temperature.scaled(logits, 1.0),
        IN_SAMPLE: temperature.scaled(logits, found),
        LEFT_OUT: temperature.left_out(logits, truth, groups),
    }


def batching(max_queue_delay_microseconds: int, preferred_batch_size: tuple[int, ...] = ()) -> DynamicBatching:
    """Of a step at which requests queue: urgent ones go first."""
    return DynamicBatching(
        max_queue_delay_microseconds,
        max_queue_size=256,
        default_timeout_microseconds=TIMEOUT_MICROSECONDS,
        preferred_batch_size=preferred_batch_size,
        priority_levels=ROUTINE_LEVEL,
        default_priority_level=ROUTINE_LEVEL,
        # Few may wait: where everything is urgent, nothing is, and the sender learns it at once.
        priority_queue_policy={URGENT_LEVEL: QueuePolicy(64, TIMEOUT_MICROSECONDS)},
    )


DECODER = PythonModel(
    name="imaging_triage_decoder",
    summary=f"chest X-ray as JPEG, PNG, GIF or WebP in, {SIZE} x {SIZE} pixels out; {DEMONSTRATION}",
    source=Path(steps.__path__[0]) / "image_decoder.py",
    inputs=(IMAGE,),
    outputs=(PIXELS,),
    files={},
    parameters={
        "size": str(SIZE),
        "resize": str(SIZE),
        "keep_aspect_ratio": "false",
        "interpolation": "nearest",
        "min_side": str(SIZE),
        "max_pixels": "50000000",
        "max_bytes": "20971520",
    },
    assets=ASSETS,
    examples=example_images,
    reference=decoded,
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=batching(max_queue_delay_microseconds=1_000),
    verified_items=64,
)

NET = Model(
    name="imaging_triage_net",
    summary=f"Xception: pixels of a chest X-ray in, a score (logit) for NORMAL and PNEUMONIA out; {DEMONSTRATION}",
    load=load,
    inputs=(PIXELS,),
    outputs=(LOGITS,),
    examples=example_pixels,
    assets={**xception_assets.WEIGHT_ASSETS, **ASSETS},
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=batching(max_queue_delay_microseconds=2_000, preferred_batch_size=(AT_ONCE,)),
    optimum_batch_size=OPTIMUM_BATCH_SIZE,
    instance_count=1,
)

DECISION = PythonModel(
    name="imaging_triage_decision",
    summary=f"scores in, calibrated probabilities and what comes first out; {DEMONSTRATION}",
    source=Path(steps.__path__[0]) / "triage_decision.py",
    inputs=(LOGITS,),
    outputs=(SCORES, PROBABILITIES, LABEL, RECOMMENDATION, THRESHOLD),
    files={},
    parameters={
        "labels": ",".join(chest_xrays.LABELS),
        "finding": chest_xrays.PNEUMONIA,
        "temperature": str(TEMPERATURE),
        "urgent_threshold": str(URGENT_THRESHOLD),
    },
    assets={},
    examples=example_logits,
    corners=extreme_logits,
    reference=decided,
    exact=decided_exactly,
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=DynamicBatching(
        max_queue_delay_microseconds=0, max_queue_size=512, default_timeout_microseconds=TIMEOUT_MICROSECONDS
    ),
)

ENSEMBLE = Ensemble(
    name="imaging_triage",
    summary=f"chest X-ray in, calibrated probability of a pneumonia and what comes first out; {DEMONSTRATION}",
    steps=tuple(
        Step(
            model=model.name,
            input_map={tensor.name: tensor.name for tensor in model.inputs},
            output_map={tensor.name: tensor.name for tensor in model.outputs},
        )
        for model in (DECODER, NET, DECISION)
    ),
    inputs=(IMAGE,),
    outputs=DECISION.outputs,
    examples=example_images,
    reference=reference,
    assets={**xception_assets.WEIGHT_ASSETS, **ASSETS},
    max_batch_size=MAX_BATCH_SIZE,
    verified_items=64,
    golden_items=PHANTOMS,
    evaluation=Evaluation(
        data=evaluation_data,
        figures=figures,
        details=details,
        data_sha256=EVALUATION_SHA256,
        losses=frozenset(f"{figure}, {way}" for figure in (CALIBRATION, BRIER) for way in (IN_SAMPLE, LEFT_OUT)),
        items=f"views of {len(chest_xrays.XRAYS)} X-rays",
    ),
)

MODELS = (DECODER, NET, DECISION, ENSEMBLE)
