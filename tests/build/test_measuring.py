"""Measuring: every candidate in each round, in another order each time; ratios with an honest interval."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats, lists

from modelyard_build import measuring
from modelyard_build.measuring import PYTORCH, ROUNDS, ratio_interval
from modelyard_build.model import Arrays
from modelyard_build.repository.gpu import Gpu
from modelyard_build.repository.hardware import Hardware
from modelyard_build.repository.manifest import Manifest, read
from modelyard_build.targets.target import Run
from support.candidates import build, declare_only, short_rounds
from support.small_models import POOLER


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """A version whose candidates were measured on a CPU, one of them for a GPU alone."""
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MODELYARD_DEVICE", "cpu")
    declare_only(monkeypatch, POOLER)
    short_rounds(monkeypatch)
    build(tmp_path / "repository", "openvino-fp32", "onnxruntime-fp16")
    return read(tmp_path / "repository" / "pooler" / "1")


def test_what_runs_here_is_measured_beside_pytorch(built: Manifest) -> None:
    """Sizes, rounds and machine are told; what is for a GPU alone has no figures."""
    (measurement,) = built.measurements.values()
    assert list(measurement["candidates"]) == [PYTORCH, "onnxruntime-fp32", "openvino-fp32"]
    assert built.candidates["onnxruntime-fp16"]["refused"] == ""
    assert (measurement["batch"], measurement["sizes"], measurement["rounds"]) == (8, {"sequence": 12}, ROUNDS)
    assert (measurement["gpu"], measurement["pytorch"]) == ("", "cpu")
    for name, found in measurement["candidates"].items():
        mean, low, high = found["ratio"]
        assert low <= mean <= high, name
        assert min(found["throughput"], found["latency_ms"]) > 0
    assert measurement["candidates"][PYTORCH]["ratio"] == [1, 1, 1]


def test_the_order_rotates_from_round_to_round() -> None:
    """Who comes first differs in each round, so that no candidate always runs in the same one's wake."""
    order: list[str] = []

    def running(name: str) -> Run:
        def run(inputs: Arrays) -> Arrays:
            if order[-1:] != [name]:
                order.append(name)
            return inputs

        return run

    series = [measuring._Series([running(name)], 3, [], []) for name in "abc"]
    batch: Arrays = {"x": np.zeros((4, 1))}
    rounds = []
    for number in range(4):
        order.clear()
        with ThreadPoolExecutor(1) as pool:
            measuring._round(series, number, batch, batch, pool)
        rounds.append("".join(order))
    assert rounds == ["abc", "bca", "cab", "abc"]
    assert {len(item.throughput) for item in series} == {len(item.latency) for item in series} == {4}


def test_a_burst_holds_as_many_calls_as_fill_it() -> None:
    """A slow candidate is called at least once a round, a quick one many times; both are warm before."""
    calls: list[Arrays] = []

    def run(inputs: Arrays) -> Arrays:
        calls.append(inputs)
        return inputs

    quick = measuring._series([run], {"x": np.zeros(1)})
    assert quick.calls > 1
    assert len(calls) == 2
    assert quick.throughput == []


def test_the_interval_of_a_case_computed_by_hand() -> None:
    """Ratios e^1, e^2, e^3: mean e^2; the logarithms' standard error is 1/sqrt(3), Student's t at 2 degrees 4.3027."""
    low, mean, high = ratio_interval(np.exp([1.0, 2.0, 3.0]))
    margin = 4.302652729911275 / math.sqrt(3)
    assert mean == pytest.approx(math.exp(2))
    assert low == pytest.approx(math.exp(2 - margin))
    assert high == pytest.approx(math.exp(2 + margin))


@pytest.mark.parametrize("ratio", [1.0, 0.25, 3.7])
def test_constant_ratios_have_no_doubt(ratio: float) -> None:
    """An interval without width."""
    assert ratio_interval(np.full(10, ratio)) == pytest.approx((ratio, ratio, ratio))


@given(lists(floats(0.01, 100), min_size=2, max_size=20))
def test_the_interval_holds_the_mean_and_turns_with_the_ratios(ratios: list[float]) -> None:
    """For any ratios: low <= mean <= high; their reciprocals have the mirrored interval."""
    low, mean, high = ratio_interval(np.array(ratios))
    assert low <= mean <= high
    assert min(ratios) <= mean * (1 + 1e-12)
    assert mean <= max(ratios) * (1 + 1e-12)
    mirrored = ratio_interval(1 / np.array(ratios))
    assert mirrored == pytest.approx((1 / high, 1 / mean, 1 / low), rel=1e-6)


def test_the_machine_is_told_with_its_figures() -> None:
    """Kind, cores, and the GPU's name where there is one."""
    gpu = Gpu("NVIDIA H100 80GB HBM3", "9.0")
    assert measuring.describe(Hardware("gpu-sm90", 16, True, gpu)) == {
        "hardware": "gpu-sm90",
        "cores": 16,
        "gpu": "NVIDIA H100 80GB HBM3",
    }
    assert measuring.describe(Hardware("cpu-amx", 2, True, None))["gpu"] == ""
