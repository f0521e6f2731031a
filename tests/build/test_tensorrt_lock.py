"""The target lock: an engine of another TensorRT, or for another GPU, is refused before a server meets it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from modelyard_build.errors import BuildError, ConfigContradiction
from modelyard_build.repository import cc_model_filenames
from modelyard_build.repository.releases import TABLE, Release, release
from modelyard_build.repository.tensorrt_lock import check_lock

KNOWN = dataclasses.replace(release("26.06"), tensorrt="11.0.1.4")
UNKNOWN = dataclasses.replace(release("26.06"), tensorrt=None)
RECORD: dict[str, Any] = {"library": "tensorrt", "version": "11.0.1.4", "compute_capabilities": ["9.0"]}
RTX: dict[str, Any] = {
    "library": "tensorrt_rtx",
    "version": "1.7.1.116",
    "compute_capabilities": ["8.0", "8.6", "8.9", "12.0"],
}


@pytest.mark.parametrize(
    ("changed", "server", "loads"),
    [
        ({}, "11.0.1.4", True),
        ({}, "11.0.1", True),
        ({}, "11.0.1.5", False),
        ({}, "11.0.2.4", False),
        ({}, "11.1.1.4", False),
        ({}, "11.0", False),
        ({"version_compatible": True}, "11.2.0.1", True),
        ({"version_compatible": True}, "11.0.1", True),
        ({"version_compatible": True}, "11.0.0.9", False),
        ({"version_compatible": True}, "12.0.0.1", False),
        ({"version_compatible": True, "version": "10.13.3.9"}, "11.0.1.4", False),
    ],
)
def test_an_engine_loads_in_its_own_version(changed: dict[str, Any], server: str, loads: bool) -> None:
    """Down to the build number, as far as the table knows it; later ones of the major version if it was made so."""
    reason = check_lock({**RECORD, **changed}, dataclasses.replace(KNOWN, tensorrt=server), "9.0")
    assert (reason == "") is loads
    if not loads:
        assert f"Triton 26.06 has {server}" in reason
        assert "docker compose run --rm build" in reason


@pytest.mark.parametrize(("built_in", "loads"), [("26.06", True), ("26.07", False), (None, False)])
def test_where_the_table_knows_no_version_the_image_decides(built_in: str | None, loads: bool) -> None:
    """An engine that was built in the release's own image has the server's TensorRT; another may not have."""
    reason = check_lock({**RECORD, "built_in_release": built_in}, UNKNOWN, "9.0")
    assert (reason == "") is loads
    assert loads or "is not in the table" in reason
    assert loads or "MODELYARD_TRITON_RELEASE=26.06" in reason


@pytest.mark.parametrize(
    ("changed", "gpu", "loads"),
    [
        ({}, "9.0", True),
        ({}, None, True),
        ({}, "8.9", False),
        ({}, "12.0", False),
        ({"hardware_compatibility": "same_compute_capability"}, "10.0", False),
        ({"hardware_compatibility": "ampere_plus"}, "8.0", True),
        ({"hardware_compatibility": "ampere_plus"}, "12.0", True),
        ({"hardware_compatibility": "ampere_plus"}, "7.5", False),
    ],
)
def test_an_engine_runs_on_its_own_compute_capability(changed: dict[str, Any], gpu: str | None, loads: bool) -> None:
    """Others from 8.0 on only in hardware-compatible mode."""
    reason = check_lock({**RECORD, **changed}, KNOWN, gpu)
    assert (reason == "") is loads
    assert loads or f"for compute capability 9.0, the GPU has {gpu}" in reason


@pytest.mark.parametrize(
    ("built", "gpu", "loads"),
    [
        (["8.0", "8.6", "8.9", "12.0"], "8.6", True),
        (["8.0", "8.6", "8.9", "12.0"], "12.1", True),
        (["8.0", "8.6", "8.9", "12.0"], "9.0", False),
        (["8.0", "8.6", "8.9", "12.0"], "7.5", False),
        (["8.9"], "8.9", True),
        (["8.9"], "12.0", False),
    ],
)
def test_an_rtx_engine_runs_on_what_it_was_compiled_for(built: list[str], gpu: str, loads: bool) -> None:
    """By default 8.0, 8.6, 8.9 and all from 12.0 on: 9.0 is a data centre's. No release of Triton binds it."""
    assert (check_lock({**RTX, "compute_capabilities": built}, UNKNOWN, gpu) == "") is loads


@pytest.mark.parametrize("gone", ["library", "version", "compute_capabilities"])
def test_a_record_that_does_not_say_is_refused(gone: str) -> None:
    """Nothing is assumed of an engine that nobody knows."""
    record = {name: value for name, value in RECORD.items() if name != gone}
    assert f"record has no {gone}" in check_lock(record, KNOWN, "9.0")


def test_every_release_of_the_table_reads() -> None:
    """With the version of CUDA; TensorRT's is a full one or unknown."""
    for name in json.loads(TABLE.read_text())["releases"]:
        found = release(name)
        assert isinstance(found, Release)
        assert found.cuda.count(".") == 2
        assert found.tensorrt is None or found.tensorrt.count(".") >= 2
    with pytest.raises(BuildError, match=r"'24\.10' is not in the table"):
        release("24.10")


# A plan for each compute capability


def test_plans_by_compute_capability_as_triton_reads_them() -> None:
    """The block parses as config.pbtxt; an unlisted GPU gets a name that no file has."""
    plans = {cc: cc_model_filenames.plan_filename("model.fp16.plan", cc) for cc in ("12.0", "8.9", "9.0")}
    text = cc_model_filenames.render(plans)
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert dict(config.cc_model_filenames) == {
        "8.9": "model.fp16.sm89.plan",
        "9.0": "model.fp16.sm90.plan",
        "12.0": "model.fp16.sm120.plan",
    }
    assert config.default_model_filename == "no_plan_for_this_compute_capability"
    assert config.default_model_filename not in config.cc_model_filenames.values()
    assert text.index('"8.9"') < text.index('"9.0"') < text.index('"12.0"')


@pytest.mark.parametrize("plans", [{}, {"sm90": "model.plan"}, {"9": "model.plan"}])
def test_keys_that_triton_would_never_find_are_refused(plans: dict[str, str]) -> None:
    """Triton looks up "9.0"; any other spelling would fall through to the default."""
    with pytest.raises(ConfigContradiction, match=r"such as 9\.0; got"):
        cc_model_filenames.render(plans)
