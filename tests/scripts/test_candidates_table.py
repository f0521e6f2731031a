"""The table of candidates: size, speed, distance from PyTorch, and the verdict on each."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from modelyard_ops.candidates import COLUMNS, candidates_table, print_candidates

FILES = {"model.onnx": {"bytes": 90 * 2**20}, "model.xml": {"bytes": 2**20}, "model.bin": {"bytes": 89 * 2**20}}


def record(quality: str, files: list[str], proven: str = "artefact", **more: Any) -> dict[str, Any]:
    """What a manifest tells of a candidate."""
    return {"quality": quality, "files": files, "proven": proven, "refused": "", "not_run": "", **more}


RECORDS = {
    "onnxruntime-fp32": record(
        "exact", ["model.onnx"], verification={"outputs": {"a": {"min_cosine": 1.0}, "b": {"min_cosine": 0.999998}}}
    ),
    "openvino-bf16": record(
        "near",
        ["model.xml", "model.bin"],
        verification={"outputs": {"a": {"min_cosine": 0.99995}}},
        served={"quality": "near", "system": {"items": 200, "grpc": {"a": {"min_cosine": 0.99991}, "n": {"equal": 1}}}},
        metrics={
            "system": {"pytorch": {"accuracy": 0.8, "f1": 0.7}, "served": {"accuracy": 0.801, "f1": 0.6985}},
            "other": {},
        },
    ),
    "openvino-int8": {"quality": "quantised", "files": [], "refused": "a row [is] off", "retry": False},
    "tensorrt-fp16": record("near", [], "graph", not_run="there is no GPU here"),
    "tensorrt-bf16": record("near", [], "graph", not_run="there is no GPU here"),
}
MEASUREMENT = {
    "hardware": "cpu-amx",
    "cores": 8,
    "batch": 8,
    "sizes": {"sequence": 128},
    "instances": 2,
    "rounds": 10,
    "candidates": {
        "eager PyTorch": {"load_s": 0.0, "latency_ms": 20.04, "throughput": 100.4, "ratio": [1.0, 1.0, 1.0]},
        "onnxruntime-fp32": {"load_s": 0.256, "latency_ms": 12.0, "throughput": 150.0, "ratio": [1.5, 1.4, 1.6]},
        "openvino-bf16": {"load_s": 1.0, "latency_ms": 5.06, "throughput": 420.0, "ratio": [4.2, 4.111, 4.299]},
    },
}


def rows(table: Table) -> dict[str, dict[str, str]]:
    """The cells by candidate and column."""
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    return {
        name: dict(zip(COLUMNS, row, strict=True)) for name, row in zip(cells[0], zip(*cells, strict=True), strict=True)
    }


def test_a_row_each_pytorch_first() -> None:
    """In the manifest's order, whether measured or not."""
    assert list(rows(candidates_table(RECORDS, FILES, MEASUREMENT))) == ["eager PyTorch", *RECORDS]


def test_pytorch_on_the_cpu_beside_a_gpus_candidates_is_said() -> None:
    """A PyTorch without CUDA is no measure of what ran on a GPU."""
    measured = {**MEASUREMENT, "gpu": "NVIDIA H100", "pytorch": "cpu"}
    assert next(iter(rows(candidates_table(RECORDS, FILES, measured)))) == "eager PyTorch (CPU)"
    assert next(iter(rows(candidates_table(RECORDS, FILES, {**measured, "pytorch": "cuda"})))) == "eager PyTorch"


def test_a_class_that_serving_lowers_is_said() -> None:
    """OpenVINO's float32 is computed in bfloat16 by a server on some CPUs: its worst cosine is of that class."""
    served = record(
        "exact", ["model.xml"], served={"quality": "near", "system": {"grpc": {"a": {"min_cosine": 0.9998}}}}
    )
    found = rows(candidates_table({**RECORDS, "openvino-fp32": served}, FILES, MEASUREMENT))
    assert (found["openvino-fp32"]["class"], found["openvino-fp32"]["worst cosine"]) == (
        "exact, served near",
        "0.999800",
    )
    assert found["openvino-bf16"]["class"] == "near"


def test_a_measured_candidate_has_all_its_figures() -> None:
    """Size over its files, speed and its ratio with the interval, the worst cosine wherever it was found, the loss."""
    found = rows(candidates_table(RECORDS, FILES, MEASUREMENT, "openvino-bf16"))
    assert found["openvino-bf16"] == {
        "candidate": "openvino-bf16",
        "MiB": "90",
        "load s": "1.00",
        "ms, 1 item": "5.1",
        "items/s": "420",
        "x PyTorch": "4.20 [4.11, 4.30]",
        "class": "near",
        "worst cosine": "0.999910",
        "loss": "0.15",
        "verdict": "proven, serves here",
    }
    assert (found["onnxruntime-fp32"]["worst cosine"], found["onnxruntime-fp32"]["loss"]) == ("0.999998", "")
    assert found["eager PyTorch"]["x PyTorch"] == "1"


def test_verdicts() -> None:
    """Refused, proven on its graph, proven, and the one that serves; a refused one has no figures and no size."""
    found = rows(candidates_table(RECORDS, FILES, MEASUREMENT, "openvino-bf16"))
    assert {name: row["verdict"] for name, row in found.items()} == {
        "eager PyTorch": "",
        "onnxruntime-fp32": "proven",
        "openvino-bf16": "proven, serves here",
        "openvino-int8": "refused",
        "tensorrt-fp16": "graph proven",
        "tensorrt-bf16": "graph proven",
    }
    refused = found["openvino-int8"]
    assert {refused[column] for column in COLUMNS[1:]} - {"quantised", "refused"} == {""}


def test_without_a_measurement_no_speed_is_shown() -> None:
    """Neither PyTorch's row nor a title; the evidence stands."""
    found = rows(candidates_table(RECORDS, FILES, {}))
    assert list(found) == list(RECORDS)
    assert {row["items/s"] for row in found.values()} == {""}
    assert found["openvino-bf16"]["worst cosine"] == "0.999910"


def test_what_is_printed_is_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a narrow terminal too: the title, every column, and below the table the reasons as they are, each once."""
    monkeypatch.setattr("modelyard_ops.candidates.stdout", Console(width=40, highlight=False))
    print_candidates(RECORDS, FILES, MEASUREMENT, "openvino-bf16")
    text = capsys.readouterr().out
    assert "cpu-amx, 8 cores: batch 8, sequence 128, 2 callers; 10 rounds, interleaved; the ratio" in text
    header = next(line for line in text.splitlines() if line.startswith("candidate"))
    assert all(column in header for column in COLUMNS)
    assert "openvino-int8 is refused: a row [is] off" in text
    assert text.count("there is no GPU here") == 1
    assert "tensorrt-fp16, tensorrt-bf16: proven is the graph, not the artefact" in text
