"""Readers before files that are cut off, spoilt or made to hurt: an answer in little time, and never a false one."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from modelyard_build.repository.lint.artefacts import Artefact, read_artefact
from modelyard_build.repository.lint.artefacts.artefact import Unreadable
from modelyard_build.repository.lint.artefacts.window import opened
from support import onnx_models, openvino_models, torch_models
from support.unprivileged import as_nobody

# What one file may take, on a slow machine with others at work.
MOST_SECONDS = 10.0
FUZZ = settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])

MODEL_PY = b"""\
import numpy as np


class TritonPythonModel:
    def execute(self, requests):
        return [f"{request!r}" for request in requests]
"""


@cache
def artefact_bytes(backend: str) -> tuple[str, bytes]:
    """A small real artefact of a backend, with its file name."""
    with TemporaryDirectory() as folder:
        if backend == "onnxruntime":
            return "model.onnx", onnx_models.slow().SerializeToString()
        if backend == "pytorch":
            torch_models.save_script(torch_models.Scale(), Path(folder, "model.pt"))
            return "model.pt", Path(folder, "model.pt").read_bytes()
        if backend == "openvino":
            import openvino

            openvino.save_model(openvino_models.pair(), Path(folder, "model.xml"))
            return "model.xml", Path(folder, "model.xml").read_bytes()
        return "model.py", MODEL_PY


def read(backend: str, data: bytes) -> Artefact:
    """What is told of an artefact with these bytes."""
    name, _ = artefact_bytes(backend)
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        started = time.monotonic()
        found = read_artefact(path, backend, {})
        assert time.monotonic() - started < MOST_SECONDS
        return found


@st.composite
def spoilt(draw: st.DrawFn, backend: str) -> bytes:
    """A real artefact: cut off, or with bytes changed, left out or put in."""
    _, whole = artefact_bytes(backend)
    data = bytearray(whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=12))
    return bytes(data)


def is_onnx(data: bytes) -> bool:
    """Whether protobuf's own parser takes it for a model with a graph and an opset."""
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        return False
    return model.HasField("graph") and len(model.opset_import) > 0


@FUZZ
@given(spoilt("onnxruntime"))
def test_a_spoilt_onnx_file_is_broken_only_where_protobuf_says_so(data: bytes) -> None:
    """Never the other way round; and where both read it, they read the same."""
    found = read("onnxruntime", data)
    if found.broken:
        assert not is_onnx(data)
    elif not found.problem and is_onnx(data):
        graph = onnx.ModelProto.FromString(data).graph
        defaults = {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
        needed = [each for each in graph.input if each.name not in defaults]
        assert len([each for each in found.inputs or () if each.name not in found.optional_inputs]) == len(needed)
        assert len(found.outputs or ()) == len(graph.output)


@FUZZ
@given(st.binary(max_size=4096))
def test_garbage_is_read_as_protobuf_reads_it(data: bytes) -> None:
    """Any bytes: an answer, and no model where there is none."""
    found = read("onnxruntime", data)
    assert not (found.broken and is_onnx(data))


@FUZZ
@given(spoilt("openvino"))
def test_a_spoilt_openvino_file_gets_an_answer(data: bytes) -> None:
    """Broken where it ends too early or is another kind of XML, unread otherwise."""
    found = read("openvino", data)
    assert found.problem or (found.inputs is not None and found.outputs is not None)


@FUZZ
@given(spoilt("pytorch"))
def test_a_spoilt_pytorch_archive_gets_an_answer(data: bytes) -> None:
    """Broken only where zipfile finds no archive."""
    found = read("pytorch", data)
    assert found.problem or found.details["kind"]


@FUZZ
@given(spoilt("python"))
def test_a_spoilt_model_py_gets_an_answer(data: bytes) -> None:
    """Any bytes may be Python."""
    found = read("python", data)
    assert found.problem or "faults" in found.details


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@FUZZ
@given(record=json_values, files=json_values, key=st.sampled_from(["bindings", "profiles", "compute_capabilities"]))
def test_any_manifest_gets_an_answer(record: Any, files: Any, key: str) -> None:
    """A manifest is a file like any other."""
    shaped = {"library": "tensorrt", key: record}
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.plan")
        path.touch()
        for candidates in (record, {"a": record}, {"a": {"files": files, "artefact": record}}):
            assert read_artefact(path, "tensorrt", {"candidates": candidates}).problem
        manifest = {"candidates": {"a": {"files": ["model.plan"], "artefact": shaped}}}
        assert read_artefact(path, "tensorrt", json.loads(json.dumps(manifest))).problem == ""


@pytest.mark.parametrize(
    ("data", "broken", "problem"),
    [
        (b"", True, "is empty"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", True, "ends in the middle"),  # a graph of 2^63 bytes
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", True, "ends in the middle"),  # of 2^64
        (b"\x08" + b"\xff" * 10 + b"\x01", True, "is not a protobuf message"),  # a number of 11 bytes
        (b"\x08\xff", True, "ends in the middle"),
        (b"\x0d\x00\x00", True, "ends in the middle"),  # 4 bytes, of which 2 are there
        (b"\x00\x00", True, "is not a protobuf message"),  # field 0
        (b"\x0e\x00", True, "is not a protobuf message"),  # wire type 6
        (b"\x0c", True, "is not a protobuf message"),  # a group that ends before it starts
        (b"\x0b\x0c", False, "has groups"),
        (b"\x08\x08", True, "has no graph"),
        (b"\x08\x08\x3a\x00", True, "names no opset"),
        (b"version https://git-lfs.github.com/spec/v1\n", True, ""),
        (b"    ORTM    ", False, "ONNX Runtime's own format"),
    ],
)
def test_hostile_protobuf(data: bytes, broken: bool, problem: str) -> None:
    """Each with its own words; broken only what protobuf refuses."""
    found = read("onnxruntime", data)
    assert found.broken is broken
    assert problem in found.problem
    assert not (found.broken and is_onnx(data))


def length(size: int) -> bytes:
    """A size as a varint."""
    encoded = b""
    while size >= 0x80:
        encoded += bytes([size & 0x7F | 0x80])
        size >>= 7
    return encoded + bytes([size])


def field(number: int, data: bytes) -> bytes:
    """A field of bytes."""
    return length(number << 3 | 2) + length(len(data)) + data


OPSET = field(8, b"\x10\x12")


def nested(depth: int) -> bytes:
    """Graphs in nodes in graphs."""
    graph = b""
    for _ in range(depth):
        graph = field(1, field(4, b"If") + field(5, field(1, b"then_branch") + field(6, graph)))
    return OPSET + field(7, graph)


def test_graphs_within_graphs_are_followed_only_so_deep() -> None:
    """Python's stack has an end; what is beyond is not called broken."""
    assert read("onnxruntime", nested(20)).problem == ""
    deep = read("onnxruntime", nested(500))
    assert "graphs within graphs" in deep.problem
    assert not deep.broken


@pytest.mark.parametrize(
    "graph",
    [
        field(1, b"") * 1_000_000,  # nodes without anything
        field(1, b"\x08\x00" * 1_000_000),  # a node of unknown fields
        field(1, field(1, b"") * 500_000),
        field(5, b"\x08\x01" * 1_000_000),  # a tensor of a million dimensions
        field(11, field(1, b"x")) * 300_000,  # inputs without end
        b"".join(field(1, field(7, str(number).encode())) for number in range(100_000)),  # domains without end
    ],
    ids=["nodes", "fields", "names", "dimensions", "inputs", "domains"],
)
def test_millions_of_pieces_end_in_time(graph: bytes) -> None:
    """Some MB of the smallest pieces: read, or given up."""
    found = read("onnxruntime", OPSET + field(7, graph))
    assert not found.broken


def test_more_than_64_mib_without_weights_are_given_up(tmp_path: Path) -> None:
    """Nodes only; weights are stepped over and do not count."""
    node = field(1, field(3, b"n" * 60_000))
    (tmp_path / "model.onnx").write_bytes(OPSET + field(7, node * 1200))
    found = read_artefact(tmp_path / "model.onnx", "onnxruntime", {})
    assert "more than 64 MiB" in found.problem
    assert not found.broken


def test_more_than_2_gib_are_more_than_protobuf_reads(tmp_path: Path) -> None:
    """Nothing of it is read."""
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(1 << 31)
    found = read_artefact(tmp_path / "model.onnx", "onnxruntime", {})
    assert found.broken
    assert "2 GiB" in found.problem


def test_huge_weights_take_no_time(tmp_path: Path) -> None:
    """A tensor of 2 GB less a little, as a hole in the file."""
    weights = (1 << 31) - 4096
    head = field(8, b"\x10\x12") + length(7 << 3 | 2)
    tensor = length(9 << 3 | 2) + length(weights)
    graph = length(5 << 3 | 2) + length(len(tensor) + weights) + tensor
    with (tmp_path / "model.onnx").open("wb") as file:
        file.write(head + length(len(graph) + weights) + graph)
        file.truncate(file.tell() + weights)
    started = time.monotonic()
    assert read_artefact(tmp_path / "model.onnx", "onnxruntime", {}).problem == ""
    assert time.monotonic() - started < 0.5


def test_sizes_that_overflow_are_numbers_like_others(tmp_path: Path) -> None:
    """A shape of 2^62 by 2^62, and an offset of 2^70 for weights."""
    built = onnx_models.matmul(np.ones((3, 2)))
    dims = built.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_value = 1 << 62
    weights = built.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.ClearField("dims")
    weights.dims.extend([1 << 62, 1 << 62])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w\0"), ("offset", str(1 << 70)), ("length", "x" * 100)):
        weights.external_data.add(key=key, value=value)
    found = read("onnxruntime", built.SerializeToString())
    assert found.problem == ""
    assert (found.inputs or ())[0].shape == (-1, 1 << 62)
    assert found.details["external_files"][0].size is None


def test_names_may_be_any_bytes() -> None:
    """What is no UTF-8 is shown as such, not raised."""
    built = onnx_models.identity(TensorProto.FLOAT).SerializeToString().replace(b"\x01x", b"\x01\xff")
    assert [tensor.name for tensor in read("onnxruntime", built).inputs or ()] == ["\N{REPLACEMENT CHARACTER}"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A version's folder, readable again afterwards."""
    yield tmp_path
    for path in tmp_path.iterdir():
        if path.is_file():
            path.chmod(0o600)


def pipe(path: Path) -> None:
    """Nobody writes into it."""
    os.mkfifo(path)


def loop(path: Path) -> None:
    """A link to itself."""
    path.symlink_to(path.name)


def nowhere(path: Path) -> None:
    """A link to nothing."""
    path.symlink_to("gone")


def empty_folder(path: Path) -> None:
    """Where a file is expected."""
    path.mkdir()


BACKENDS = {
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "python": "model.py",
    "pytorch": "model.pt",
    "tensorrt": "model.plan",
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [pipe, loop, nowhere, empty_folder], ids=lambda make: make.__name__)
def test_what_is_no_file_is_a_problem(make: Callable[[Path], None], backend: str, folder: Path) -> None:
    """A pipe is not waited for, a link that leads nowhere not followed."""
    path = folder / BACKENDS[backend]
    make(path)
    started = time.monotonic()
    assert read_artefact(path, backend, {}).problem
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_names_that_no_file_can_have(backend: str, folder: Path) -> None:
    """Too long, with a NUL, with half a character: a problem, not an error."""
    for name in ("n" * 5000, "a\0b", "\udc80", "..", "/"):
        assert read_artefact(folder / name, backend, {}).problem


def read_and_forbidden(name: str, data: bytes) -> tuple[Artefact, Artefact]:
    """What is told of an onnxruntime artefact, and what once the right to read it is gone."""
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        read = read_artefact(path, "onnxruntime", {})
        path.chmod(0)
        return read, read_artefact(path, "onnxruntime", {})


def test_a_file_that_may_not_be_read_is_a_problem() -> None:
    """With the system's word for it, and not called broken."""
    read, forbidden = as_nobody(partial(read_and_forbidden, *artefact_bytes("onnxruntime")))
    assert not read.problem
    assert "Permission denied" in forbidden.problem
    assert not forbidden.broken


def test_a_file_that_shrinks_while_it_is_read_does_no_harm(tmp_path: Path) -> None:
    """With mmap the process would be killed."""
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(1 << 20))
    with opened(path) as window:
        os.truncate(path, 10)
        with pytest.raises(Unreadable, match="shorter"):
            window.bytes(0, 100)


ENTITIES = "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
BILLION_LAUGHS = f'<!DOCTYPE net [<!ENTITY a "ha">{ENTITIES}]><net>&j;</net>'


@pytest.mark.parametrize(
    ("text", "broken", "problem"),
    [
        ("", True, "is empty"),
        ("<net", True, "ends in the middle"),
        ("<net><layers>", True, "ends in the middle"),
        ("<html><body>404</body></html>", True, "has the root <html>"),
        (BILLION_LAUGHS, False, "DOCTYPE"),
        ('<!DOCTYPE net SYSTEM "file:///etc/passwd"><net/>', False, "DOCTYPE"),
        ("not XML", False, "is not XML"),
        ("<net></ten>", False, "is not XML"),
        ('<net><layers><layer id="0" type="Parameter"/></layers></net>', False, "names no tensor"),
    ],
)
def test_hostile_xml(text: str, broken: bool, problem: str) -> None:
    """Entities are never expanded, other files never opened."""
    found = read("openvino", text.encode())
    assert found.broken is broken
    assert problem in found.problem


def test_xml_of_any_depth_and_length_ends_in_time() -> None:
    """Elements within elements, and elements without end."""
    layer = b'<layer id="0" name="x" type="Const"><data offset="99999999999999999999999" size="1"/></layer>'
    assert read("openvino", b"<net>" + b"<a>" * 200_000).broken
    assert read("openvino", b"<net><layers>" + layer * 20_000 + b"</layers></net>").details["weights_needed"] <= 1


def test_an_archive_with_a_directory_of_any_length_ends_in_time(tmp_path: Path) -> None:
    """More than 4 MiB of names are not taken into memory."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"model/{number:0220d}", b"")
    started = time.monotonic()
    assert "4 MiB" in read_artefact(path, "pytorch", {}).problem
    assert time.monotonic() - started < MOST_SECONDS


def test_code_that_grows_when_it_is_unpacked_is_cut(tmp_path: Path) -> None:
    """A quarter of a gigabyte of spaces."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/constants.pkl", b"")
        archive.writestr("model/data.pkl", b"\x80\x02c__torch__\nBomb\nq\x00.")
        with archive.open("model/code/__torch__.py", "w", force_zip64=True) as file:
            for _ in range(64):
                file.write(b" " * (4 << 20))
    started = time.monotonic()
    assert read_artefact(path, "pytorch", {}).details == {"kind": "TorchScript"}
    assert time.monotonic() - started < MOST_SECONDS


def test_no_pickle_is_opened(tmp_path: Path) -> None:
    """One that would run a command tells of nothing, and runs nothing."""
    path = tmp_path / "model.pt"
    touched = tmp_path / "touched"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", b"")
        archive.writestr("model/data.pkl", f"cos\nsystem\n(S'touch {touched}'\ntR.".encode())
    assert read_artefact(path, "pytorch", {}).details == {"kind": "TorchScript"}
    assert not touched.exists()


@pytest.mark.parametrize(
    "text",
    ["(" * 100_000, "-" * 500_000 + "1", "a." * 200_000 + "a", "x = [" + "1, " * 300_000 + "]", "lambda: " * 50_000],
    ids=["brackets", "signs", "attributes", "list", "lambdas"],
)
def test_hostile_python(text: str) -> None:
    """Python's own parser gives up, or takes a moment; nothing of it is run."""
    found = read("python", text.encode())
    assert found.problem or found.details["faults"]


def test_python_of_more_than_a_megabyte_is_not_read() -> None:
    """No model.py has so much."""
    found = read("python", b"#" * ((1 << 20) + 1))
    assert "1 MiB" in found.problem
    assert not found.broken


def test_a_helper_builds_what_onnx_reads() -> None:
    """The bytes written by hand above are the format."""
    model = onnx.ModelProto.FromString(nested(2))
    assert model.opset_import[0].version == 18
    (branch,) = model.graph.node[0].attribute
    assert (branch.name, branch.g.node[0].op_type) == ("then_branch", "If")
