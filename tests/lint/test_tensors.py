"""Corners of the rules about tensors and artefacts that their examples leave out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from modelyard_build.repository.lint.examples import parse
from modelyard_build.repository.lint.hardware import machine
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import Finding, lint
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Repository
from support import lint_examples, onnx_models, openvino_models

MINE = [rule for rule in RULES if rule.code.startswith(("MY2", "MY6"))]
X = 'input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }'
Y = 'output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }'
RECORD: dict[str, Any] = {
    "library": "tensorrt_rtx",
    "version": "1.7.1.116",
    "compute_capabilities": ["8.0", "8.6", "8.9", "12.0"],
    "bindings": [
        {"name": "x", "mode": "input", "dtype": "FP32", "dims": [-1, 4]},
        {"name": "y", "mode": "output", "dtype": "FP32", "dims": [-1, 4]},
    ],
    "profiles": [
        {"x": {"min": [1, 4], "opt": [1, 4], "max": [8, 4]}},
        {"x": {"min": [1, 4], "opt": [16, 4], "max": [32, 4]}},
    ],
}


def findings(folder: Path, config: str, hardware: str = "") -> list[Finding]:
    """What the rules about tensors and artefacts find in the model m of a folder, with this config."""
    (folder / "m").mkdir(exist_ok=True)
    (folder / "m" / "config.pbtxt").write_text(config)
    chosen = Settings(machine=machine(hardware) if hardware else None)
    return lint([Repository(folder, chosen)], [], chosen, MINE)


def codes(folder: Path, config: str, hardware: str = "") -> list[str]:
    """Their codes."""
    return [finding.rule.code for finding in findings(folder, config, hardware)]


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """The folder of version 1 of the model m."""
    folder = tmp_path / "m" / "1"
    folder.mkdir(parents=True)
    return folder


def engine(version: Path, record: dict[str, Any] | None = None, *names: str) -> None:
    """Engines with one record."""
    files = list(names or ("model.plan",))
    for name in files:
        (version / name).write_bytes(b"an engine")
    candidates = {"tensorrt_rtx-fp16": {"files": files, "artefact": RECORD if record is None else record}}
    (version / "manifest.json").write_text(json.dumps({"candidates": candidates}))


def engine_config(size: int | None = 8, dims: str = "[ 4 ]", more: str = "", backend: str = "tensorrt_rtx") -> str:
    """A config of an engine."""
    x, y = (text.replace("[ 4 ]", dims) for text in (X, Y))
    batch = "" if size is None else f"max_batch_size: {size}\n"
    return f'backend: "{backend}"\n{batch}{x}\n{y}\n{more}\n'


@pytest.mark.parametrize(
    ("size", "profiles", "expected"),
    [(8, "", []), (9, "", ["MY238"]), (32, '"1"', []), (33, '"1"', ["MY238"]), (32, '"0", "1"', [])],
)
def test_the_served_profile_decides_the_batch(
    size: int, profiles: str, expected: list[str], version: Path, tmp_path: Path
) -> None:
    """Without `profile` the first; of several the largest."""
    engine(version)
    group = f"instance_group {{ kind: KIND_GPU profile: [ {profiles} ] }}"
    assert codes(tmp_path, engine_config(size, more=group, backend="tensorrt")) == expected


@pytest.mark.parametrize("group", ["", "instance_group { kind: KIND_GPU }"])
def test_an_rtx_engine_serves_all_its_profiles(group: str, version: Path, tmp_path: Path) -> None:
    """Triton refuses to be told of them, so that the largest batch of all counts, stated or completed."""
    engine(version)
    assert codes(tmp_path, engine_config(32, more=group)) == []
    (above,) = findings(tmp_path, engine_config(33, more=group))
    assert "takes at most 32" in above.message
    (completed,) = findings(tmp_path, engine_config(None, more=group))
    assert "it becomes 32" in completed.message


def test_an_engine_completes_the_batch_where_dims_leave_it_out(version: Path, tmp_path: Path) -> None:
    """Without max_batch_size it becomes the profile's; dims of all dimensions are served as they are."""
    engine(version)
    assert codes(tmp_path, engine_config(None)) == ["MY240"]
    assert codes(tmp_path, engine_config(None, "[ -1, 4 ]")) == ["MY239"]


@pytest.mark.parametrize(
    ("dims", "expected"), [("[ -1 ]", []), ("[ 5 ]", ["MY235", "MY235"]), ("[ 4, 1 ]", ["MY234", "MY234"])]
)
def test_an_engine_is_lenient_on_both_sides(dims: str, expected: list[str], version: Path, tmp_path: Path) -> None:
    """-1 in the config fits any size of the engine."""
    engine(version)
    assert codes(tmp_path, engine_config(8, dims)) == expected


@pytest.mark.parametrize(
    ("hardware", "capabilities", "expected"),
    [
        ("", ["8.9"], []),
        ("cpu", ["8.9"], []),
        ("l4", ["8.9"], []),
        ("h200", ["8.9"], ["MY609"]),
        ("h200", ["8.0", "12.0"], ["MY609"]),
        ("h200", "9.0", ["MY610"]),
        ("h200", [None], ["MY610"]),
        ("h200", [], ["MY610"]),
    ],
)
def test_the_machine_decides_whether_an_engine_loads(
    hardware: str, capabilities: Any, expected: list[str], version: Path, tmp_path: Path
) -> None:
    """On a machine with another GPU it does not; a record that is none is told as such."""
    engine(version, {**RECORD, "compute_capabilities": capabilities})
    found = codes(tmp_path, engine_config(8), hardware)
    assert found == expected


def test_the_engine_of_the_machine_is_the_one_that_is_checked(version: Path, tmp_path: Path) -> None:
    """By cc_model_filenames; another GPU's engine is of no interest to it."""
    engine(version, {**RECORD, "compute_capabilities": ["9.0"]}, "model.sm90.plan")
    (version / "model.sm89.plan").write_bytes(b"an engine")
    more = "".join(
        f'cc_model_filenames {{ key: "{key}" value: "{name}" }}\n'
        for key, name in (("8.9", "model.sm89.plan"), ("9.0", "model.sm90.plan"))
    )
    config = engine_config(8, more=f'{more}default_model_filename: "none"')
    assert codes(tmp_path, config, "h200") == []
    assert codes(tmp_path, config, "l4") == ["MY603"]


def onnx_config(size: int = 8, more: str = "dynamic_batching { }", x: str = X, y: str = Y) -> str:
    """A config of an ONNX model."""
    return f'backend: "onnxruntime"\nmax_batch_size: {size}\n{x}\n{y}\n{more}\n'


def identity(version: Path, *sizes: int | str) -> None:
    """Writes an ONNX model whose y is x."""
    onnx.save(onnx_models.identity(TensorProto.FLOAT, sizes), version / "model.onnx")


def test_a_fix_writes_the_artefacts_dims(version: Path, tmp_path: Path) -> None:
    """In the place of the list, and nothing else changes."""
    identity(version, "batch", 3)
    config = onnx_config()
    found = findings(tmp_path, config)
    assert [finding.rule.code for finding in found] == ["MY235", "MY235"]
    for finding in sorted(found, key=lambda finding: -finding.fix[0].start):
        (edit,) = finding.fix
        config = config[: edit.start] + edit.text + config[edit.end :]
    assert config == onnx_config().replace("[ 4 ]", "[ 3 ]")
    assert codes(tmp_path, config) == []


def test_several_versions_are_told_once_and_not_mended(version: Path, tmp_path: Path) -> None:
    """Which of them is right is not for the linter to say."""
    other = tmp_path / "m" / "2"
    other.mkdir()
    identity(version, "batch", 3)
    identity(other, "batch", 5)
    found = findings(tmp_path, onnx_config(more="dynamic_batching { }\nversion_policy { all { } }"))
    assert [(finding.rule.code, finding.line, finding.fix) for finding in found] == [
        ("MY235", 3, ()),
        ("MY235", 4, ()),
    ]
    assert "1/model.onnx" in found[0].message


def test_only_served_versions_count(version: Path, tmp_path: Path) -> None:
    """An old version may be as it was."""
    other = tmp_path / "m" / "2"
    other.mkdir()
    identity(version, "batch", 3)
    identity(other, "batch", 4)
    assert codes(tmp_path, onnx_config()) == []


def test_an_output_whose_batch_alone_is_fixed_is_told(version: Path, tmp_path: Path) -> None:
    """An exporter that runs a batch of one may fix it at the outputs only."""
    built = onnx_models.identity(TensorProto.FLOAT, ("batch", 4))
    dim = built.graph.output[0].type.tensor_type.shape.dim[0]
    dim.Clear()
    dim.dim_value = 1
    onnx.save(built, version / "model.onnx")
    (found,) = findings(tmp_path, onnx_config())
    assert (found.rule.code, found.line) == ("MY237", 4)
    assert "dynamic batch axis" in found.message


def test_a_name_is_proposed_where_one_is_close(version: Path, tmp_path: Path) -> None:
    """A person at night sees the letter that differs."""
    onnx.save(onnx_models.encoder(4), version / "model.onnx")
    config = onnx_config(
        x='input { name: "inputids" data_type: TYPE_INT64 dims: [ -1 ] }\n'
        'input { name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] }',
        y='output { name: "embedding" data_type: TYPE_FP32 dims: [ 4 ] }',
    )
    messages = [finding.message for finding in findings(tmp_path, config)]
    assert any("did you mean 'input_ids'?" in message for message in messages)


def test_openvino_with_a_layout_may_complete_its_batch(version: Path, tmp_path: Path) -> None:
    """Then dims are without the batch though max_batch_size is left out, and nothing is said of them."""
    import numpy as np
    import openvino

    openvino.save_model(openvino_models.matmul(np.ones((4, 4)), layout="NC"), version / "model.xml")
    config = f'backend: "openvino"\n{X}\n{Y}\n'
    assert codes(tmp_path, config) == []
    openvino.save_model(openvino_models.matmul(np.ones((4, 4))), version / "model.xml")
    assert codes(tmp_path, config) == ["MY235", "MY235"]


def test_openvino_that_takes_the_dims_of_the_config_is_left_alone(version: Path, tmp_path: Path) -> None:
    """RESHAPE_IO_LAYERS gives the model other shapes."""
    import numpy as np
    import openvino

    openvino.save_model(openvino_models.matmul(np.ones((4, 4)), batch=1), version / "model.xml")
    config = f'backend: "openvino"\n{X.replace("[ 4 ]", "[ 2, 4 ]")}\n{Y.replace("[ 4 ]", "[ 2, 4 ]")}\n'
    assert codes(tmp_path, config) == ["MY235", "MY235"]
    reshape = 'parameters { key: "RESHAPE_IO_LAYERS" value { string_value: "yes" } }\n'
    assert codes(tmp_path, config + reshape) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"model.py": {"bytes": 3}}, ["1/model.py has 4 bytes, expected 3"]),
        ({"model.py": {"bytes": 4}, "tokens": {"bytes": 1}}, ["1/tokens is gone"]),
        ({"folder/weights.bin": {"bytes": 4}}, ["1/folder/weights.bin is gone"]),
        ({"model.py": {"bytes": "3"}, "tokens": 3, "a": {}}, []),
        ([], []),
    ],
)
def test_a_version_is_held_against_its_manifest(files: Any, expected: list[str], version: Path, tmp_path: Path) -> None:
    """By the sizes; what is no record is passed over."""
    (version / "model.py").write_text("x=1\n")
    (version / "manifest.json").write_text(json.dumps({"files": files}))
    found = [each.message for each in findings(tmp_path, 'backend: "x"') if each.rule.code == "MY614"]
    assert [message.split(" (")[0] for message in found] == expected


EXAMPLES = Path(lint_examples.__file__).parents[2] / "build/modelyard_build/repository/lint/examples"


def every_config() -> list[str]:
    """The configs of the examples."""
    texts = [parse(path.read_text()) for path in sorted(EXAMPLES.glob("MY[26]*.txt"))]
    return sorted({file.text for text in texts for file in text.files if file.path.endswith("config.pbtxt")})


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_rule_raises_whatever_is_left_of_a_config(data: st.DataObject, tmp_path_factory: Any) -> None:
    """Lines taken out, numbers and words replaced by others, before every kind of artefact."""
    folder: Path = tmp_path_factory.mktemp("repository")
    version = folder / "m" / "1"
    version.mkdir(parents=True)
    make: Callable[[Path], None] = data.draw(st.sampled_from([engine, lambda path: identity(path, "b", 4), nothing]))
    make(version)
    lines = data.draw(st.sampled_from(every_config())).splitlines()
    kept = [line for line in lines if data.draw(st.integers(0, 5))]
    words = ["8", "-1", "0", "2147483647", '""', "TYPE_STRING", '"x"', "[ ]", '"model.onnx"', '"onnxruntime"']
    text = "\n".join(kept)
    for _ in range(data.draw(st.integers(0, 3))):
        before = data.draw(st.sampled_from(["8", "[ 4 ]", '"x"', '"y"', "TYPE_FP32", '"pytorch"', '"openvino"', "4"]))
        text = text.replace(before, data.draw(st.sampled_from(words)), 1)
    for finding in findings(folder, text, data.draw(st.sampled_from(["", "cpu", "h200"]))):
        assert finding.message


def nothing(version: Path) -> None:
    """No artefact at all."""
