"""Folders, versions, backends and data files: what the examples of the rules do not show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from modelyard_build.repository.lint.rules import RULES, layout
from modelyard_build.repository.lint.run import Finding, lint
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Repository
from modelyard_build.repository.lint.version_names import is_version, number_read
from modelyard_build.repository.model_config import ModelConfig
from support import onnx_models
from support.triton import IDENTITY

IO = """\
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }
dynamic_batching { }
instance_group { kind: KIND_CPU count: 1 }
"""
PYTHON = f'backend: "python"\n{IO}'


def write(folder: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """Files below a folder; None makes a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def found(*repositories: Path, arguments: tuple[str, ...] | None = None) -> list[Finding]:
    """Everything that the linter says of repositories that one server has."""
    settings = Settings(server_arguments=arguments)
    return lint([Repository(path, settings) for path in repositories], [], settings, RULES)


def messages(folder: Path, files: Mapping[str, str | bytes | None], code: str) -> list[str]:
    """What a rule says of a repository."""
    return [finding.message for finding in found(write(folder, files)) if finding.rule.code == code]


def python_model(more: str = "", **files: str | bytes | None) -> dict[str, str | bytes | None]:
    """The files of a sound Python model."""
    return {"m/config.pbtxt": PYTHON + more, "m/1/model.py": IDENTITY, **files}


@pytest.mark.parametrize(
    ("name", "number", "served"),
    [
        ("1", 1, True),
        ("0", 0, True),
        ("9223372036854775807", 2**63 - 1, True),
        ("9223372036854775808", 2**63, False),
        ("01", None, False),
        ("00", None, False),
        ("v1", None, False),
        ("", None, False),
        ("-1", -1, False),
        ("+1", 1, False),
        (" 1", 1, False),
        ("1 ", 1, False),
        ("1.0", 1, False),
        ("2.bak", 2, False),
        ("\u0661", None, False),
        (".2", None, False),
    ],
)
def test_names_of_versions_are_read_as_triton_reads_them(name: str, number: int | None, served: bool) -> None:
    """By std::stoll, after leading zeros were sorted out: seen on 2.51."""
    assert number_read(name) == number
    assert is_version(name) is served


def test_a_misread_folder_does_harm_only_where_it_is_selected(tmp_path: Path) -> None:
    """A backup of an old version is passed by; one that is the newest, or whose number is named, is served."""
    files = python_model(**{"m/2/model.py": IDENTITY, "m/1.bak/model.py": IDENTITY})
    assert messages(tmp_path / "a", files, "MY112") == []
    del files["m/1/model.py"]
    everything = {**files, "m/config.pbtxt": PYTHON + "version_policy { all { } }\n"}
    assert messages(tmp_path / "b", everything, "MY112") == [
        "'1.bak' is read as version 1, whose files are looked for in 1/, which are not there; move the folder away"
    ]


def test_a_number_that_triton_cannot_hold_is_an_error_wherever_it_stands(tmp_path: Path) -> None:
    """It ends the server also where the policy names another version."""
    more = "version_policy { specific { versions: [ 1 ] } }\n"
    said = messages(tmp_path, python_model(more, **{"m/99999999999999999999": None}), "MY112")
    assert said == [
        "'99999999999999999999' is a number that Triton cannot hold: it ends the server; move the folder away"
    ]


@pytest.mark.parametrize("policy", ["latest { }", "latest { num_versions: 0 }", "specific { }"])
def test_a_policy_may_select_nothing_at_all(tmp_path: Path, policy: str) -> None:
    """An empty `latest` is 0 versions, not 1."""
    assert len(messages(tmp_path, python_model(f"version_policy {{ {policy} }}\n"), "MY113")) == 1


def test_a_policy_without_a_choice_is_the_newest_version(tmp_path: Path) -> None:
    """`version_policy { }` loads."""
    assert found(write(tmp_path, python_model("version_policy { }\n"))) == []


@pytest.mark.parametrize(
    ("stands", "hint"),
    [
        ({"m/1/model.oonx": b""}, "; did you mean 'model.oonx'?"),
        ({"m/1/encoder.onnx": b""}, "; call encoder.onnx so, or name it in default_model_filename"),
        ({"m/1/readme": b"", "m/model.onnx": b""}, "; it stands one folder above: move it to 1/model.onnx"),
        ({"m/1/readme": b""}, "; the folder holds readme"),
        ({"m/1": None}, "; the folder is empty"),
    ],
)
def test_a_missing_file_is_looked_for_elsewhere(tmp_path: Path, stands: dict[str, bytes | None], hint: str) -> None:
    """The message names what was probably meant."""
    files: dict[str, str | bytes | None] = {"m/config.pbtxt": f'backend: "onnxruntime"\n{IO}', **stands}
    (said,) = messages(tmp_path, files, "MY116")
    assert said == f"version 1 has no model.onnx, which the onnxruntime backend reads{hint}"


def test_an_onnx_folder_holds_model_onnx(tmp_path: Path) -> None:
    """Whatever the folder itself is called."""
    config = f'backend: "onnxruntime"\ndefault_model_filename: "net.onnx"\n{IO}'
    files: dict[str, str | bytes | None] = {"m/config.pbtxt": config, "m/1/net.onnx/net.onnx": b""}
    (said,) = messages(tmp_path, files, "MY116")
    assert said == "1/net.onnx is a folder, and model.onnx is not in it; put it there beside its weights"
    assert messages(tmp_path / "b", {"m/config.pbtxt": config, "m/1/net.onnx/model.onnx": b""}, "MY116") == []


@pytest.mark.parametrize(
    "config",
    [
        'backend: "pytorch"\n',
        'backend: "tensorrt"\ncc_model_filenames { key: "9.0" value: "model.pt2" }\n',
        'backend: "pytorch"\nruntime: "model.py"\n',
        'backend: "my_engine"\n',
        'backend: "python"\nruntime: "other.so"\n',
    ],
)
def test_no_file_is_missed_where_another_may_be_served(tmp_path: Path, config: str) -> None:
    """An error that is none would be worse than silence."""
    assert messages(tmp_path, {"m/config.pbtxt": config + IO, "m/1/model.pt2": b""}, "MY116") == []


@pytest.mark.parametrize(
    ("folder", "what"),
    [
        ({"docs/readme.txt": b""}, "it has no config.pbtxt, and no file that tells a backend; move it out"),
        ({".git": None}, "it is empty; take it away, or publish a version into it"),
        ({"m/model.onnx": b""}, "model.onnx stands beside the versions; move it to 1/model.onnx"),
        ({"m/Config.pbtxt": b"", "m/1": None}, "'Config.pbtxt' is not read; call it config.pbtxt"),
        ({"m/1/net.onnx": b""}, "it has no config.pbtxt, and no file that tells a backend"),
        ({"m/.cache/x": b"", "m/1/model.onnx": b""}, "it has no config.pbtxt, and no file that tells a backend"),
    ],
)
def test_a_folder_that_is_no_model_is_told_why(tmp_path: Path, folder: dict[str, bytes | None], what: str) -> None:
    """Triton looks into the first folder alone, also where that is a hidden one."""
    (said,) = messages(tmp_path, folder, "MY104")
    assert f"is no model: {what}" in said


def test_a_name_with_a_dot_may_name_a_backend(tmp_path: Path) -> None:
    """`NAME.BACKEND` is a convention of Triton's, for backends of one's own."""
    assert found(write(tmp_path, {"scores.my_engine/1/weights": b""})) == []


def test_a_table_of_new_fields_names_fields_that_exist() -> None:
    """Each path leads through the schema that we parse with."""
    for path in json.loads(layout.FIELDS.read_text(encoding="utf-8"))["fields"]:
        message = ModelConfig.DESCRIPTOR
        for name in path.split("."):
            message, field = message.fields_by_name[name].message_type or message, message.fields_by_name[name]
        assert field.name == path.split(".")[-1]


def test_names_in_two_repositories_are_one_servers_problem(tmp_path: Path) -> None:
    """Each of them alone is sound, and with namespaces both are."""
    one, two = (write(tmp_path / name, python_model()) for name in ("one", "two"))
    assert found(one) == found(two) == []
    assert [finding.rule.code for finding in found(one, two)] == ["MY129"]
    assert found(one, two, arguments=("--model-namespacing=true",)) == []


@pytest.mark.parametrize(
    ("platform", "backend", "code"),
    [
        ("onnxruntime_onnx", "python", None),
        ("pytorch_libtorch", "onnxruntime", "MY120"),
        ("torch_aoti", "tensorrt", "MY120"),
        ("ensemble", "python", "MY501"),
        ("", "ONNXRuntime", "MY123"),
        ("", "onnxruntime_onnx", "MY123"),
        ("", "python ", "MY123"),
        ("", "my_engine", "MY124"),
        ("onnx", "", "MY121"),
        ("python", "", "MY121"),
    ],
)
def test_platforms_and_backends_are_held_against_each_other(
    tmp_path: Path, platform: str, backend: str, code: str | None
) -> None:
    """As 2.51 does."""
    stated = f'platform: "{platform}"\n' * bool(platform) + f'backend: "{backend}"\n' * bool(backend)
    said = {finding.rule.code for finding in found(write(tmp_path, {"m/config.pbtxt": stated + IO, "m/1": None}))}
    assert {each for each in said if each in ("MY120", "MY121", "MY123", "MY124", "MY501")} == (
        {code} if code else set()
    )


def test_a_backend_that_a_model_brings_along_is_known(tmp_path: Path) -> None:
    """Its library lies in the model's folder or in a version's."""
    config = f'backend: "onnx"\n{IO}'
    assert messages(tmp_path, {"m/config.pbtxt": config, "m/1/libtriton_onnx.so": b""}, "MY123") == []


SAMPLE = """\
model_warmup {{ name: "s" batch_size: {size}
  inputs {{ key: "x" value {{ data_type: TYPE_{dtype} dims: [ {dims} ] input_data_file: "x" }} }} }}
"""


@pytest.mark.parametrize(
    ("content", "dims", "problem"),
    [
        (b"\3\0\0\0abc", "1", ""),
        (b"\0\0\0\0", "1", ""),
        (b"\3\0\0\0abc" * 2, "2", ""),
        (b"\3\0\0\0abc" * 2, "1", "has 2 strings, and [ 1 ] takes 1"),
        (b"", "1", "has 0 strings, and [ 1 ] takes 1"),
        (
            b"hello world",
            "1",
            "says that string 0 has 1819043176 bytes, which are not there; write lengths before strings",
        ),
        (b"\1\0\0\0a\0", "1", "has 1 bytes too many at its end; before each string its length takes four bytes"),
    ],
)
def test_strings_of_a_sample_have_lengths(tmp_path: Path, content: bytes, dims: str, problem: str) -> None:
    """What Triton refuses, and what ends it, is told before."""
    config = PYTHON.replace("FP32", "STRING").replace("[ 4 ]", f"[ {dims} ]")
    files: dict[str, str | bytes | None] = {
        "m/config.pbtxt": config + SAMPLE.format(size=1, dtype="STRING", dims=dims),
        "m/1/model.py": IDENTITY,
        "m/warmup/x": content,
    }
    assert messages(tmp_path, files, "MY131") == ([f"warmup/x {problem}"] if problem else [])


def test_a_sample_is_one_item_of_its_batch(tmp_path: Path) -> None:
    """Triton sends the same item batch_size times."""
    more = SAMPLE.format(size=4, dtype="FP32", dims="4")
    assert found(write(tmp_path, python_model(more, **{"m/warmup/x": bytes(16)}))) == []


def test_a_sample_has_the_inputs_that_the_graph_completes(tmp_path: Path) -> None:
    """Where config.pbtxt lists none, the onnxruntime backend takes them out of the graph."""
    tensors = [onnx_models.tensor(name, TensorProto.FLOAT, ("batch", 4)) for name in ("x", "z", "y")]
    graph = onnx_models.model([helper.make_node("Add", ["x", "z"], ["y"])], tensors[:2], tensors[2:])
    config = IO.replace(
        'input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }', SAMPLE.format(size=1, dtype="FP32", dims="4")
    )
    files: dict[str, str | bytes | None] = {
        "m/config.pbtxt": 'backend: "onnxruntime"\n' + config,
        "m/1/model.onnx": graph.SerializeToString(),
        "m/warmup/x": bytes(16),
    }
    (message,) = messages(tmp_path, files, "MY134")
    assert "lacks 'z'" in message


def test_nothing_but_that_is_said_of_a_sample_that_is_skipped(tmp_path: Path) -> None:
    """Triton does not look at its files either."""
    more = SAMPLE.format(size=0, dtype="INT8", dims="-1, 7")
    assert [finding.rule.code for finding in found(write(tmp_path, python_model(more)))] == ["MY137"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x", "there is no file warmup/x; 1/x stands, move it to warmup/x"),
        ("", "warmup/ is a folder, expected a file: it ends the server"),
        ("y", "there is no file warmup/y; write it, or state another name"),
        ("../warmup/ok", None),
        ("/ok", None),
    ],
)
def test_the_file_of_a_sample_is_looked_for_where_triton_does(tmp_path: Path, name: str, message: str | None) -> None:
    """In warmup/, also where the name begins with a slash."""
    more = SAMPLE.format(size=1, dtype="FP32", dims="4").replace('"x" }', f'"{name}" }}')
    files = python_model(more, **{"m/1/x": bytes(16), "m/warmup/ok": bytes(16)})
    assert messages(tmp_path, files, "MY130") == ([message] if message else [])


def test_an_initial_state_is_held_against_its_file(tmp_path: Path) -> None:
    """In initial_state/, of the state's own dims."""
    state = (
        'sequence_batching { state { input_name: "s" output_name: "t" data_type: TYPE_FP32 dims: [ 2 ] '
        'initial_state { name: "i" data_type: TYPE_FP32 dims: [ 2 ] data_file: "d" } } }\n'
    )
    config = PYTHON.replace("dynamic_batching { }\n", state)
    files: dict[str, str | bytes | None] = {"m/config.pbtxt": config, "m/1/model.py": IDENTITY}
    assert messages(tmp_path / "a", files, "MY130") == [
        "there is no file initial_state/d; write it, or state another name"
    ]
    assert len(messages(tmp_path / "b", {**files, "m/initial_state/d": bytes(4)}, "MY131")) == 1
    assert len(messages(tmp_path / "c", {**files, "m/initial_state/d": bytes(40)}, "MY132")) == 1
