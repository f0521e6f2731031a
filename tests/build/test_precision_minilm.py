"""int8 on the real encoder: calibrated on one split, judged on the other, at every width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from modelyard_build.assets import fetch
from modelyard_build.datasets import complaints
from modelyard_build.export import export
from modelyard_build.model import Arrays
from modelyard_build.models.text_embedder import ENCODER, TOKENS
from modelyard_build.precision import calibration, convert
from modelyard_build.precision.converted import Converted
from modelyard_build.precision.sessions import Session
from modelyard_build.precision.yardstick import Yardstick
from modelyard_build.quality import QUANTISED
from modelyard_build.repository.releases import DEFAULT_RELEASE, release
from modelyard_build.similarity import min_cosine
from modelyard_build.sources import pinned_assets
from modelyard_build.targets.target import Source
from support.precision_models import Lines

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Encoder:
    """The exported encoder."""

    source: Source
    path: Path
    float32: onnx.ModelProto


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    files = fetch(pinned_assets(ENCODER), print)
    module = ENCODER.load(files)
    path = tmp_path_factory.mktemp("minilm") / "model.onnx"
    onnx.save(export(ENCODER, module, files), path)
    source = Source(ENCODER, files, lambda: module, lambda _: path, release(DEFAULT_RELEASE), Lines())
    return Encoder(source, path, onnx.load(path))


@pytest.fixture(scope="module")
def int8(encoder: Encoder) -> Converted:
    with pytest.MonkeyPatch.context() as patch:
        # A quarter of the rows: enough for the quality, and the test takes a minute.
        patch.setattr(calibration, "ITEMS", 64)
        return convert("int8", encoder.path, encoder.source, QUANTISED)


def unseen(files: Mapping[str, Path], width: int) -> Arrays:
    """Complaints of the test split, as wide as asked, shorter ones padded."""
    return TOKENS.tokenize(files, complaints.load(files["test"]).texts[:32], width)


@pytest.mark.slow
@pytest.mark.parametrize("width", [3, 16, 64, 128, 256])
def test_unseen_texts_keep_their_meaning(encoder: Encoder, int8: Converted, width: int) -> None:
    """The worst of 32 texts that no range was taken from has a cosine of 0.99 or more to the float32 graph's."""
    inputs = unseen(encoder.source.files, width)
    expected, answer = (Session(graph)(inputs)["embedding"] for graph in (encoder.float32, int8.proto))
    assert min_cosine(expected, answer) >= 0.99


@pytest.mark.slow
def test_most_of_the_work_is_int8(encoder: Encoder, int8: Converted) -> None:
    """At most a third of the multiplications stays in float32, and the report names their nodes."""
    assert int8.report["share_of_multiply_adds_kept"] <= 1 / 3
    names = {node.name for node in encoder.float32.graph.node}
    assert int8.report["kept_nodes"].keys() <= names
    assert len(int8.report["kept_nodes"]) + int8.report["quantised_nodes"] == 36


def test_naive_dynamic_int8_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    """ONNX Runtime's dynamic int8 without calibration is far outside what the quality allows."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    quantization.quantize_dynamic(encoder.path, tmp_path / "dynamic.onnx")
    widths = [unseen(encoder.source.files, width) for width in (16, 128)]
    yardstick = Yardstick(ENCODER, encoder.float32, widths, QUANTISED)
    assert yardstick.error(onnx.load(tmp_path / "dynamic.onnx")) > 2


def test_calibration_never_sees_what_verification_does(encoder: Encoder) -> None:
    """Calibration rows come from the training split: none of them is among the examples, at equal width."""
    files, sizes = encoder.source.files, {"sequence": 64}
    assert ENCODER.calibration is not None
    seen = ENCODER.calibration(files, 512, sizes)
    assert seen["input_ids"].shape == (512, 64)
    assert seen["attention_mask"].all()
    verified = {row.tobytes() for row in ENCODER.examples(files, 64, sizes)["input_ids"]}
    assert verified.isdisjoint(row.tobytes() for row in seen["input_ids"])
    assert len(np.unique(seen["input_ids"], axis=0)) > 500
