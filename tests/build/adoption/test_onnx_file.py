"""An ONNX file as an origin: what is declared of it, what it is held against, and what is refused in which words."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from modelyard_build import given_graph, verify
from modelyard_build.adoption.declaration import render
from modelyard_build.adoption.inspection import Inspected
from modelyard_build.adoption.origin import Draw, Opened, Wish
from modelyard_build.adoption.origins.onnx_file import ORIGIN
from modelyard_build.adoption.trial import attempt, declared
from modelyard_build.errors import AdoptionFailed, VerificationFailed
from modelyard_build.model import Axis, Model
from modelyard_build.nets.onnx_reference import OnnxReference
from modelyard_build.repository import config
from modelyard_build.repository.agreement import agree, signature
from modelyard_build.targets import onnxruntime, openvino
from modelyard_build.targets.target import of_items
from modelyard_build.wanted import wanted

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
GENERATOR = np.random.default_rng(0)


def weights(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array((GENERATOR.normal(size=shape) / 3).astype(np.float32), name)


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Sequence[int | str]]],
    outputs: Sequence[tuple[str, int, Sequence[int | str] | None]],
    initializers: Sequence[TensorProto] = (),
    **options: Any,
) -> Path:
    """An ONNX file of these nodes."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        initializers,
    )
    opsets = options.pop("opsets", {"": 18})
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*item) for item in opsets.items()],
        ir_version=options.pop("ir_version", 8),
    )
    onnx.save(made, path, **options)
    return path


def convolution(path: Path, batch: int | str, **options: Any) -> Path:
    """An image to five numbers; a constant Reshape, as exporters write it, holds the batch at 1 where it is 1."""
    last = helper.make_node("Reshape" if batch == 1 else "Flatten", ["p", "s"] if batch == 1 else ["p"], ["q"])
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        last,
        helper.make_node("MatMul", ["q", "f"], ["y"]),
    ]
    values = [weights("w", 4, 3, 3, 3), weights("b", 4), weights("f", 4, 5)]
    constants = [*values, ints("s", 1, 4)] if batch == 1 else values
    return save(path, nodes, [("x", FLOAT, [batch, 3, 8, 8])], [("y", FLOAT, [batch, 5])], constants, **options)


def opened(path: Path, **wish: Any) -> Opened:
    return ORIGIN.open(Wish("net", str(path), **wish))


def inspected(path: Path, **wish: Any) -> Inspected:
    found = opened(path, **wish).inspected
    assert found is not None
    return found


@contextmanager
def adopted(path: Path, **wish: Any) -> Iterator[Model]:
    """The declaration that is written, read back."""
    wished = Wish("net", str(path), **wish)
    found = ORIGIN.open(wished)
    assert found.inspected is not None
    tried = attempt(wished, found, found.inspected, lambda line: None)
    assert not tried.refused
    with declared(render(wished, found, tried.inspected), "net", tried.inspected.example) as model:
        yield model


def files_of(model: Model) -> dict[str, Path]:
    return {name: asset.path for name, asset in model.assets.items()}  # type: ignore[union-attr]  # the user's own


def test_a_dynamic_batch_is_declared_as_it_is(tmp_path: Path) -> None:
    """The graph's names, dtypes and dims, and a reference that takes any batch."""
    with adopted(convolution(tmp_path / "net.onnx", "N")) as model:
        assert [(tensor.name, tensor.dtype, tensor.dims) for tensor in model.inputs] == [("x", "FP32", (3, 8, 8))]
        assert [(tensor.name, tensor.dims) for tensor in model.outputs] == [("y", (5,))]
        assert model.max_batch_size > 1
        assert model.graph == "model.onnx"
        taken = given_graph.take(model, files_of(model)["model.onnx"])
        assert taken.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


@pytest.mark.parametrize("target", [onnxruntime.TARGET, openvino.TARGET], ids=lambda target: target.name)
def test_a_fixed_batch_of_one_becomes_a_real_one(tmp_path: Path, target: Any) -> None:
    """The file's own graph, item by item, is the reference of the graph whose batch was freed."""
    with adopted(convolution(tmp_path / "net.onnx", 1)) as model:
        assert model.max_batch_size > 1
        files = files_of(model)
        proto = given_graph.take(model, files["model.onnx"])
        folder = tmp_path / "artefact"
        folder.mkdir()
        graph = onnxruntime.write(proto, tmp_path)
        if target is openvino.TARGET:
            import openvino as library

            library.save_model(library.Core().read_model(graph), folder / "model.xml", compress_to_fp16=False)
        else:
            onnxruntime.write(proto, folder)
        run = target.runner(target.candidates[0], folder, model)
        evidence = verify.verify(model, model.load(files), run, files)
        assert evidence["cases"] == ["batch 1", "batch 2", "batch 8", "batch 16"]
        assert evidence["outputs"]["y"]["max_error_in_floors"] < 4


def test_items_that_depend_on_one_another_are_not_batched(tmp_path: Path) -> None:
    """A softmax over what looks like the batch: served whole, with the reason told."""
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=0)]
    found = inspected(save(tmp_path / "net.onnx", nodes, [("x", FLOAT, ["N", 4])], [("y", FLOAT, ["N", 4])]))
    assert found.max_batch_size == 0
    assert found.inputs[0].dims == (Axis("N", 1, 512, 16), 4)
    assert any("requests are not batched" in note and "differs" in note for note in found.notes)


def test_a_model_without_a_batch_builds_from_end_to_end(tmp_path: Path) -> None:
    """Dims are the whole shape; no batcher is written; each item of the examples is a request of its own."""
    nodes = [helper.make_node("MatMul", ["w", "x"], ["y"])]
    path = save(tmp_path / "net.onnx", nodes, [("x", FLOAT, [6, 3])], [("y", FLOAT, [2, 3])], [weights("w", 2, 6)])
    with adopted(path) as model:
        assert (model.max_batch_size, model.dynamic_batching) == (0, None)
        assert model.inputs[0].config_dims == (6, 3)
        files = files_of(model)
        onnxruntime.write(given_graph.take(model, files["model.onnx"]), tmp_path)
        run = of_items(model, onnxruntime.Runner(tmp_path / "model.onnx"))
        evidence = verify.verify(model, model.load(files), run, files)
        assert evidence["cases"] == ["4 requests"]
        text = config.render(model)
        assert "max_batch_size: 0" in text
        assert "dynamic_batching" not in text
        written = tmp_path / "config.pbtxt"
        written.write_text(text)
        config.check(written, model)
        served = openvino.TARGET.serving(openvino.TARGET.candidates[0], model)
        assert "ENABLE_BATCH_PADDING" not in served.parameters


def test_a_model_that_loses_its_batch_takes_the_config_along(tmp_path: Path) -> None:
    """A config of the version before becomes one without a batch and without a batcher, and the other way round."""
    with adopted(convolution(tmp_path / "net.onnx", "N")) as model:
        inputs = (replace(model.inputs[0], dims=(1, 3, 8, 8)),)
        alone = replace(model, max_batch_size=0, dynamic_batching=None, inputs=inputs)
        text = agree(config.render(model), alone, signature(model))
        path = tmp_path / "config.pbtxt"
        path.write_text(text)
        config.check(path, alone)
        found = config.read(path)
        assert (found.max_batch_size, found.HasField("dynamic_batching")) == (0, False)
        path.write_text(agree(config.render(alone), model, signature(alone)))
        config.check(path, model)


@pytest.mark.parametrize("batch", ["N", 1], ids=["dynamic", "fixed"])
def test_single_numbers_become_rows_of_one(tmp_path: Path, batch: int | str) -> None:
    """A label and a weight for each item have no dims that a config could state: they get one."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        helper.make_node("ReduceMax", ["scores"], ["best"], keepdims=0, axes=[1]),
        helper.make_node("Mul", ["best", "factor"], ["scaled"]),
    ]
    inputs: list[tuple[str, int, Sequence[int | str]]] = [("x", FLOAT, [batch, 6]), ("factor", FLOAT, [batch])]
    outputs: list[tuple[str, int, Sequence[int | str]]] = [("label", INT64, [batch]), ("scaled", FLOAT, [batch])]
    path = save(tmp_path / "net.onnx", nodes, inputs, outputs, [weights("w", 6, 3)], opsets={"": 13})
    with adopted(path) as model:
        assert model.max_batch_size > 1
        assert [tensor.dims for tensor in (*model.inputs, *model.outputs)] == [(6,), (1,), (1,), (1,)]
        onnxruntime.write(given_graph.take(model, path), tmp_path)
        files = files_of(model)
        verify.verify(model, model.load(files), onnxruntime.Runner(tmp_path / "model.onnx"), files)


def test_indices_are_drawn_from_the_table_that_they_look_up_in(tmp_path: Path) -> None:
    """A whole number beyond an embedding's rows would fail: its rows are the limit, also behind a Cast."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["wide"], to=INT64),
        helper.make_node("Gather", ["table", "wide"], ["y"]),
    ]
    path = save(
        tmp_path / "net.onnx",
        nodes,
        [("ids", TensorProto.INT32, ["N", "length"])],
        [("y", FLOAT, ["N", "length", 4])],
        [weights("table", 7, 4)],
    )
    found = opened(path)
    assert found.draws == {"ids": Draw(0, 7)}
    assert found.inspected is not None
    assert found.inspected.inputs[0].dims == (Axis("length", 1, 512, 16),)


def test_initialisers_that_are_inputs_too_are_constants(tmp_path: Path) -> None:
    """Before IR version 4 each weight was an input as well: no request gives it, and it is told."""
    inputs: list[tuple[str, int, Sequence[int | str]]] = [("x", FLOAT, ["N", 3]), ("w", FLOAT, [3, 2])]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = save(tmp_path / "net.onnx", nodes, inputs, [("y", FLOAT, ["N", 2])], [weights("w", 3, 2)], ir_version=3)
    with adopted(path) as model:
        assert [tensor.name for tensor in model.inputs] == ["x"]
        taken = given_graph.take(model, path)
        assert [value.name for value in taken.graph.input] == ["x"]
        assert taken.ir_version >= 4
    assert "input 'w' has a value in the file, and is served as that constant" in inspected(path).notes


def test_a_graph_that_computes_something_else_is_found_out(tmp_path: Path) -> None:
    """What is served is held against the file: a weight that changed on the way fails."""
    with adopted(convolution(tmp_path / "net.onnx", "N")) as model:
        files = files_of(model)
        proto = given_graph.take(model, files["model.onnx"])
        proto.graph.initializer[2].CopyFrom(weights("f", 4, 5))
        onnxruntime.write(proto, tmp_path)
        with pytest.raises(VerificationFailed, match="output 'y' differs"):
            verify.verify(model, model.load(files), onnxruntime.Runner(tmp_path / "model.onnx"), files)


def test_pytorch_targets_are_unavailable(tmp_path: Path) -> None:
    """There is no module to trace, and the reason says so."""
    with adopted(convolution(tmp_path / "net.onnx", "N")) as model:
        found = {item.candidate.name: item.unavailable for item in wanted(model, tmp_path / "none", "key", ["all"])}
        assert found["pytorch-fp32"].startswith("the model is an ONNX file")
        assert found["onnxruntime-fp32"] == ""


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[0, 1, 2, 1], strides=[2, 1], dilations=[1, 2]),
        helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_LOWER", strides=[2, 2]),
        helper.make_node("ConvTranspose", ["x", "w"], ["y"], pads=[1, 0, 1, 2], strides=[2, 3], output_padding=[1, 0]),
        helper.make_node(
            "ConvTranspose", ["x", "w"], ["y"], strides=[3, 2], output_shape=[22, 14], auto_pad="SAME_UPPER"
        ),
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1, pads=[1, 0, 1, 1]),
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
        helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1] * 4),
        helper.make_node(
            "AveragePool", ["x"], ["y"], kernel_shape=[3, 2], strides=[2, 1], count_include_pad=1, pads=[1, 0, 1, 1]
        ),
    ],
    ids=lambda node: node.op_type,
)
def test_what_pytorch_computes_of_the_reference_is_onnx_itself(tmp_path: Path, node: onnx.NodeProto) -> None:
    """Convolutions and poolings answer as onnx's own evaluator, which takes minutes for a real image."""
    inputs = [("x", FLOAT, [2, 3, 8, 7])]
    constants = [weights("w", 3, 3, 3, 3)] if len(node.input) > 1 else []
    path = save(tmp_path / "net.onnx", [node], inputs, [("y", FLOAT, None)], constants)
    x = GENERATOR.normal(size=(2, 3, 8, 7)).astype(np.float32)
    expected: Any = ReferenceEvaluator(onnx.load(path)).run(["y"], {"x": x})[0]  # type: ignore[index]
    own = OnnxReference(path)
    (answer,), (exact,) = own(x=torch.from_numpy(x)), copy.deepcopy(own).double()(x=torch.from_numpy(x).double())
    assert exact.dtype == torch.float64
    np.testing.assert_allclose(answer.numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(exact.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_reference_in_float64_rounds_nowhere(tmp_path: Path) -> None:
    """Weights, constants and casts of the file are float64: the answer is PyTorch's in float64, to its last bits."""
    nodes = [
        helper.make_node("Cast", ["x"], ["cast"], to=FLOAT),
        helper.make_node("Constant", [], ["third"], value_float=0.25),
        helper.make_node("Mul", ["cast", "third"], ["m"]),
        helper.make_node("MatMul", ["m", "w"], ["product"]),
        helper.make_node("LayerNormalization", ["product", "one"], ["y"], stash_type=1, epsilon=2.0**-10),
    ]
    constants = [weights("w", 8, 3), numpy_helper.from_array(np.ones(3, np.float32), "one")]
    path = save(tmp_path / "net.onnx", nodes, [("x", FLOAT, ["N", 8])], [("y", FLOAT, ["N", 3])], constants)
    matrix = torch.from_numpy(numpy_helper.to_array(onnx.load(path).graph.initializer[0]).copy()).double()
    x = torch.rand(5, 8, dtype=torch.float64)
    (answer,) = OnnxReference(path).double()(x=x)
    expected = nn.functional.layer_norm(x * 0.25 @ matrix, (3,), eps=2.0**-10)
    torch.testing.assert_close(answer, expected, rtol=1e-14, atol=1e-14)


def test_operators_of_onnx_runtime_are_references_of_their_own(tmp_path: Path) -> None:
    """A fused operator that ONNX does not define is run by ONNX Runtime, and the rest of the graph in float64."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("BiasGelu", ["m", "b"], ["y"], domain="com.microsoft"),
    ]
    path = save(
        tmp_path / "net.onnx",
        nodes,
        [("x", FLOAT, ["N", 8])],
        [("y", FLOAT, ["N", 8])],
        [weights("w", 8, 8), weights("b", 8)],
        opsets={"": 18, "com.microsoft": 1},
    )
    with adopted(path) as model:
        onnxruntime.write(given_graph.take(model, path), tmp_path)
        files = files_of(model)
        verify.verify(model, model.load(files), onnxruntime.Runner(tmp_path / "model.onnx"), files)


def refusal(path: Path, **wish: Any) -> str:
    with pytest.raises(AdoptionFailed) as caught:
        opened(path, **wish)
    return str(caught.value)


def test_custom_operators_are_refused_by_node(tmp_path: Path) -> None:
    """The operator, its domain and its node, and what to do."""
    nodes = [helper.make_node("Swirl", ["x"], ["y"], name="swirl_7", domain="acme.ops")]
    opsets = {"": 18, "acme.ops": 1}
    said = refusal(save(tmp_path / "a.onnx", nodes, [("x", FLOAT, ["N", 4])], [("y", FLOAT, ["N", 4])], opsets=opsets))
    assert "node 'swirl_7' of a.onnx is a Swirl of domain 'acme.ops'" in said
    assert "Export the model again without it" in said


def test_weights_beside_the_file_are_part_of_the_model(tmp_path: Path) -> None:
    """They are assets, so that a change of them is a change of the model; missing or short ones are told."""
    folder = tmp_path / "net"
    folder.mkdir()
    convolution(folder / "model.onnx", "N", save_as_external_data=True, location="weights.bin", size_threshold=0)
    found = opened(folder)
    assert found.assets == {"model.onnx": folder / "model.onnx", "weights.bin": folder / "weights.bin"}
    data = (folder / "weights.bin").read_bytes()
    (folder / "weights.bin").write_bytes(data[:40])
    assert "keeps weights in 'weights.bin' up to byte" in refusal(folder)
    (folder / "weights.bin").unlink()
    assert "there is no such file" in refusal(folder)


def test_weights_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    """A name that leads elsewhere could read any file of the machine."""
    path = convolution(tmp_path / "a.onnx", "N", save_as_external_data=True, location="w.bin", size_threshold=0)
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "../../etc/passwd"
    path.write_bytes(proto.SerializeToString())
    assert "leads out of the file's folder" in refusal(path)


def test_files_that_are_no_onnx_are_refused(tmp_path: Path) -> None:
    """Nothing, garbage, the beginning of a file, no file."""
    whole = convolution(tmp_path / "whole.onnx", "N").read_bytes()
    for name, content in {"empty": b"", "text": b"hello, world\n" * 40, "half": whole[: len(whole) // 2]}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        assert str(path) in refusal(path)
    assert "is no file" in refusal(tmp_path / "gone.onnx")


def test_what_no_request_can_carry_is_refused(tmp_path: Path) -> None:
    """Strings and sequences, by the tensor's name."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    text = TensorProto.STRING
    said = refusal(save(tmp_path / "a.onnx", nodes, [("x", text, ["N", 4])], [("y", text, ["N", 4])]))
    assert "input 'x' of a.onnx has elements of STRING" in said
    nodes = [helper.make_node("SequenceConstruct", ["x", "x"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 4])],
        [helper.make_tensor_sequence_value_info("y", FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "b.onnx")
    assert "output 'y' of b.onnx is a sequence" in refusal(tmp_path / "b.onnx")


def test_an_opset_that_runtimes_do_not_have_says_how_to_convert(tmp_path: Path) -> None:
    """ONNX Runtime begins at opset 7: the message names the converter."""
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], broadcast=1)]
    inputs = [("x", FLOAT, [2, 3])]
    constants = [weights("w", 3, 2), weights("b", 2)]
    said = refusal(save(tmp_path / "a.onnx", nodes, inputs, [("y", FLOAT, [2, 2])], constants, opsets={"": 6}))
    assert "It has opset 6, and runtimes begin at 7" in said
    assert "version_converter" in said


def test_an_example_and_inputs_have_the_graphs_names(tmp_path: Path) -> None:
    """A real example is taken, one item in the graph's own shape too; another name is refused."""
    path = convolution(tmp_path / "net.onnx", "N")
    np.savez(tmp_path / "good.npz", x=GENERATOR.normal(size=(5, 3, 8, 8)).astype(np.float32))
    assert len(opened(path, example=tmp_path / "good.npz").example["x"]) == 5
    np.savez(tmp_path / "bad.npz", image=np.zeros((5, 3, 8, 8), np.float32))
    assert "the graph's inputs are x" in refusal(path, example=tmp_path / "bad.npz")
    assert "--input image" in refusal(path, inputs={"image": ("FP32", (3, 8, 8))})


def test_a_folder_with_other_weights_is_not_an_onnx_file(tmp_path: Path) -> None:
    """A Hugging Face folder may hold an ONNX file too; its own weights count."""
    convolution(tmp_path / "model.onnx", "N")
    assert ORIGIN.knows(Wish("net", str(tmp_path)))
    (tmp_path / "model.safetensors").touch()
    assert not ORIGIN.knows(Wish("net", str(tmp_path)))
