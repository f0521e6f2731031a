"""Engines of TensorRT and TensorRT-RTX: every decision, and the calls in their order on a stand-in for a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard_server.backend_support.autocomplete import Completion
from modelyard_server.backend_support.errors import ExecutionError, ModelLoadError
from modelyard_server.backend_support.instance import Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.signature import ArtefactTensor, Signature
from modelyard_server.backend_support.tensorrt_engine import loading
from modelyard_server.backend_support.tensorrt_engine.contract import Bindings, check_contract, complete
from modelyard_server.backend_support.tensorrt_engine.engine import Engine
from modelyard_server.backend_support.tensorrt_engine.library import TENSORRT, TENSORRT_RTX, Library
from modelyard_server.backend_support.tensorrt_engine.lock import Host, read_lock
from modelyard_server.backend_support.tensorrt_engine.plan_file import plan_filename
from modelyard_server.backend_support.tensorrt_engine.profiles import Bounds, choose_profile, configured_profiles
from support import tensorrt_stand_in as stand_in

X = {"name": "x", "data_type": "TYPE_FP32", "dims": [3]}
Y = {"name": "y", "data_type": "TYPE_FP32", "dims": [3]}
SMALL = {"x": Bounds((1, 3), (1, 3), (2, 3))}
LARGE = {"x": Bounds((1, 3), (8, 3), (8, 3))}
SIGNATURE = Signature(
    "1/model.plan", {"x": ArtefactTensor("TYPE_FP32", (-1, 3))}, {"y": ArtefactTensor("TYPE_FP32", (-1, 3))}
)
BINDINGS = Bindings(SIGNATURE, [SMALL, LARGE])


def config(**fields: Any) -> ModelConfig:
    """The configuration that fits the engine, with changes."""
    return ModelConfig.from_dict({"name": "m", "max_batch_size": 8, "input": [X], "output": [Y], **fields})


def test_a_plan_is_chosen_by_compute_capability() -> None:
    """The map counts; without one, default_model_filename, then model.plan."""
    plans = {"8.6": "model.sm86.plan", "9.0": "model.sm90.plan"}
    assert plan_filename(config(cc_model_filenames=plans, default_model_filename="model.plan"), "9.0") == plans["9.0"]
    assert plan_filename(config(cc_model_filenames={}, default_model_filename="model.fp16.plan"), "9.0") == (
        "model.fp16.plan"
    )
    assert plan_filename(config(default_model_filename=""), "9.0") == "model.plan"


def test_a_gpu_that_the_map_does_not_name_is_refused() -> None:
    """Never the default file, which is most often of another GPU."""
    with pytest.raises(ModelLoadError, match=r"no engine for compute capability 12\.0, .*; it has 8\.6: build one"):
        plan_filename(config(cc_model_filenames={"8.6": "a.plan"}, default_model_filename="model.plan"), "12.0")


def test_an_instance_has_the_profiles_of_its_group() -> None:
    """Groups may differ; none named is profile 0; a number twice counts once."""
    groups = [{"name": "m_0", "profile": ["1"]}, {"name": "m_1", "profile": ["1", "0", "1"]}, {"name": "m_1_x"}]
    served = config(instance_group=groups)
    assert configured_profiles(served, "m_0_0", 2, TENSORRT) == [1]
    assert configured_profiles(served, "m_1_3", 2, TENSORRT) == [0, 1]
    assert configured_profiles(served, "m_1_x_0", 2, TENSORRT) == [0]
    assert configured_profiles(config(), "m_0", 2, TENSORRT) == [0]


def test_an_engine_whose_config_cannot_list_profiles_serves_all() -> None:
    """Triton takes `instance_group.profile` of the tensorrt backend alone."""
    assert configured_profiles(config(instance_group=[{"name": "m"}]), "m_0", 2, TENSORRT_RTX) == [0, 1]


@pytest.mark.parametrize("name", ["2", "first", "-1"])
def test_a_profile_that_the_engine_does_not_have_is_refused(name: str) -> None:
    """With those that it has."""
    with pytest.raises(ModelLoadError, match=f"profile '{name}', .* 0 to 1: list these"):
        configured_profiles(config(instance_group=[{"name": "m", "profile": [name]}]), "m_0", 2, TENSORRT)


def test_the_profile_with_the_nearest_optimum_runs() -> None:
    """Of those that hold the shapes."""
    profiles = {0: SMALL, 1: LARGE}
    assert [choose_profile(profiles, {"x": (size, 3)}) for size in (1, 2, 3, 8)] == [0, 0, 1, 1]


def test_shapes_that_no_profile_holds_are_named() -> None:
    """The input with what each profile takes; or all of them, where only together they do not fit."""
    with pytest.raises(
        ExecutionError, match=r"'x' has shape \[9,3\], expected one of profile 0: \[1,3\] to \[2,3\]; 1:"
    ):
        choose_profile({0: SMALL, 1: LARGE}, {"x": (9, 3)})
    apart = {0: {**SMALL, "m": Bounds((1,), (1,), (1,))}, 1: {**LARGE, "m": Bounds((5,), (5,), (5,))}}
    with pytest.raises(ExecutionError, match=r"no optimization profile holds 'x' \[8,3\], 'm' \[1\] together"):
        choose_profile(apart, {"x": (8, 3), "m": (1,)})


def test_a_configuration_that_fits_is_accepted() -> None:
    """Leniently: -1 on either side fits any size."""
    check_contract(config(), BINDINGS, [LARGE])
    check_contract(config(input=[{**X, "dims": [-1]}], output=[{**Y, "dims": [-1]}]), BINDINGS, [LARGE])
    check_contract(
        config(max_batch_size=0, input=[{**X, "dims": [4, 3]}], output=[{**Y, "dims": [-1, 3]}]), BINDINGS, [LARGE]
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input": [{**X, "name": "z"}]}, "input 'z', which 1/model.plan does not have"),
        ({"input": []}, "needs input 'x'"),
        ({"output": []}, "has output 'y' .* list them all"),
        ({"output": [{**Y, "name": "z"}]}, "output 'z'"),
        ({"input": [{**X, "data_type": "TYPE_INT64"}]}, "input 'x' is TYPE_INT64 in config.pbtxt and TYPE_FP32"),
        ({"input": [{**X, "dims": [4]}]}, r"input 'x' has shape \[-1,4\] .*set dims: \[ 3 \]"),
        ({"output": [{**Y, "dims": [1, 3]}]}, r"output 'y' has shape \[-1,1,3\]"),
        ({"max_batch_size": 0}, r"input 'x' has shape \[3\] .*set dims: \[ -1, 3 \]"),
        ({"max_batch_size": 9}, "max_batch_size is 9, .* at most 8: set max_batch_size: 8"),
        ({"input": [{**X, "optional": True}]}, "input 'x' is optional"),
        ({"input": [{**X, "allow_ragged_batch": True}]}, r"has shape \[-1\] in config.pbtxt and \[-1,3\]"),
    ],
)
def test_a_contradiction_is_refused_with_the_mend(fields: dict[str, Any], words: str) -> None:
    """Each rule, broken once."""
    with pytest.raises(ModelLoadError, match=words):
        check_contract(config(**fields), BINDINGS, [LARGE])


def test_int64_stays_int64() -> None:
    """TensorRT takes it as it is; a configuration with INT32 does not fit."""
    wide = Signature(
        "1/model.plan", {"x": ArtefactTensor("TYPE_INT64", (-1, 3))}, {"y": ArtefactTensor("TYPE_FP32", (-1, 3))}
    )
    check_contract(config(input=[{**X, "data_type": "TYPE_INT64"}]), Bindings(wide, [LARGE]), [LARGE])
    with pytest.raises(ModelLoadError, match=r"TYPE_INT32 in config.pbtxt and TYPE_INT64"):
        check_contract(config(input=[{**X, "data_type": "TYPE_INT32"}]), Bindings(wide, [LARGE]), [LARGE])


def test_shape_tensors_are_refused() -> None:
    """They are values that are shapes."""
    with pytest.raises(ModelLoadError, match=r"'x' of 1/model.plan is a shape tensor"):
        check_contract(config(), Bindings(SIGNATURE, [LARGE], frozenset({"x"})), [LARGE])


def test_the_batch_is_completed_by_the_profiles() -> None:
    """The largest batch of the profiles that are served; dynamic batching above 1."""
    bare = ModelConfig.from_dict({"name": "m"})
    assert complete(bare, BINDINGS, [SMALL, LARGE]) == Completion(8, True, (X,), (Y,))
    assert complete(bare, BINDINGS, [SMALL]).max_batch_size == 2
    assert complete(config(max_batch_size=4), BINDINGS, [LARGE]) == Completion(4, True, (), ())
    assert not complete(config(sequence_batching={}), BINDINGS, [LARGE]).dynamic_batching


def test_dims_that_leave_no_room_for_a_batch_say_that_there_is_none() -> None:
    """As many dims as the engine has."""
    listed = config(max_batch_size=0, input=[{**X, "dims": [-1, 3]}], output=[])
    assert complete(listed, BINDINGS, [LARGE]) == Completion(0, False, (), ({**Y, "dims": [-1, 3]},))


def test_a_max_batch_size_above_the_profiles_is_refused_while_completing() -> None:
    """As in the container."""
    with pytest.raises(ModelLoadError, match=r"max_batch_size is 16, .* at most 8"):
        complete(config(max_batch_size=16), BINDINGS, [LARGE])


def engine_of(data: bytes, folder: Path, trt: stand_in.Library, library: Library = TENSORRT) -> Engine:
    """An engine on the stand-in."""
    (folder / "model.plan").write_bytes(data)
    host = Host(library, "10.13.3", "9.0")
    return Engine(trt, folder / "model.plan", "1/model.plan", host, stand_in.HostMemory())


def rows(count: int) -> dict[str, Any]:
    """That many rows of 0, 1, 2."""
    return {"x": np.tile(np.arange(3, dtype=np.float32), (count, 1))}


def test_an_engine_says_what_it_has(tmp_path: Path) -> None:
    """Bindings and profiles, in Triton's words."""
    bindings = engine_of(stand_in.GOOD, tmp_path, stand_in.Library()).bindings
    assert bindings.signature == SIGNATURE
    assert list(bindings.profiles) == [SMALL, LARGE]


def test_an_engine_runs_the_profile_that_fits(tmp_path: Path) -> None:
    """One context a profile, through the addresses of the buffers."""
    trt = stand_in.Library()
    engine = engine_of(stand_in.GOOD, tmp_path, trt)
    engine.open([0, 1])
    assert [engine.run(["y"], rows(size))[0].tolist() for size in (1, 8)] == [[[0, 2, 4]], [[0, 2, 4]] * 8]
    assert trt.engine is not None
    assert [context.shapes["x"] for context in trt.engine.contexts] == [(1, 3), (8, 3)]


def test_an_engine_that_fails_says_what_the_library_logged(tmp_path: Path) -> None:
    """And runs the next batch."""
    trt = stand_in.Library()
    engine = engine_of(stand_in.GOOD, tmp_path, trt)
    engine.open([0])
    assert trt.engine is not None
    trt.engine.contexts[0].fails = True
    with pytest.raises(ExecutionError, match=r"1/model\.plan did not run: out of memory$"):
        engine.run(["y"], rows(1))
    trt.engine.contexts[0].fails = False
    assert engine.run(["y"], rows(1))[0].tolist() == [[0, 2, 4]]


def test_a_type_that_triton_does_not_have_is_refused(tmp_path: Path) -> None:
    """FP8 bindings."""
    trt = stand_in.Library()
    trt.dtype = "FP8"
    with pytest.raises(ModelLoadError, match=r"'x' of 1/model\.plan is FP8, for which Triton has no data type"):
        engine_of(stand_in.GOOD, tmp_path, trt)


def manifest(version: str, *capabilities: str) -> str:
    """What the build writes of an engine."""
    record = {"library": "tensorrt", "version": version, "compute_capabilities": capabilities}
    return json.dumps({"candidates": {"tensorrt-fp16": {"files": ["model.plan"], "artefact": record}}})


def test_an_engine_that_does_not_load_is_refused_with_both_versions(tmp_path: Path) -> None:
    """What built it and for what, by the manifest; what is here; and what TensorRT logged."""
    (tmp_path / "manifest.json").write_text(manifest("10.9.0", "8.6"))
    with pytest.raises(ModelLoadError) as refusal:
        engine_of(b"of another version", tmp_path, stand_in.Library())
    assert str(refusal.value) == (
        "TensorRT 10.13.3 on compute capability 9.0 cannot load 1/model.plan: it was built by TensorRT 10.9.0 for "
        "compute capability 8.6; Version tag does not match. Expected 241, got 239. An engine loads in the version of "
        "TensorRT and on the kind of GPU that it was built for: build it again for these"
    )


def test_without_a_manifest_the_librarys_words_are_all_there_is(tmp_path: Path) -> None:
    """A plan that came from elsewhere."""
    with pytest.raises(
        ModelLoadError, match=r"^TensorRT-RTX 10\.13\.3 on .* 1/model\.plan: Version tag does not match"
    ):
        engine_of(b"of another version", tmp_path, stand_in.Library(), TENSORRT_RTX)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"candidates": {"a": {"files": ["other.plan"]}}}'])
def test_a_manifest_that_does_not_tell_is_as_none(tmp_path: Path, text: str) -> None:
    """Whatever stands in it."""
    (tmp_path / "manifest.json").write_text(text)
    assert read_lock(tmp_path / "model.plan") is None


@pytest.mark.parametrize("library", [TENSORRT, TENSORRT_RTX])
@pytest.mark.parametrize("kind", ["CPU", "MODEL"])
def test_without_a_gpu_the_model_is_refused(tmp_path: Path, library: Library, kind: str) -> None:
    """Before anything is imported; and nothing is completed, as in the container."""
    with pytest.raises(ModelLoadError, match=f"the {library.backend} backend serves KIND_GPU only, .* KIND_{kind}"):
        loading.load(library, config(), tmp_path, Placement(kind))
    assert loading.read_completion(library, config(instance_group=[{"kind": f"KIND_{kind}"}]), tmp_path) is None
