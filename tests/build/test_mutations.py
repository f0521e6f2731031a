"""Verification: every way in which a graph may be wrong is refused, and the message says where.

The graph is a real transformer encoder, exported for real. Each mutation changes one thing in its ONNX form, and goes
the way of every artefact: the check of the graph, then the comparison with PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard_build.errors import BuildError, ExportFailed, VerificationFailed
from modelyard_build.export import check, export
from modelyard_build.model import Array
from modelyard_build.targets import onnxruntime as target
from modelyard_build.verify import verify
from modelyard_build.weight_checks import check_epsilons, check_weights
from support.small_encoder import ENCODER, WIDTH, load

Mutation = Callable[[onnx.GraphProto], object]
Floats = npt.NDArray[np.float32]
# PyTorch's answers do not depend on these: the softmax takes the same number off every score, and no example has a
# token of the second type. The weights themselves are compared for that reason.
WITHOUT_EFFECT = ("self.key.bias", "token_type_embeddings")


@pytest.fixture(scope="module")
def exported() -> onnx.ModelProto:
    return export(ENCODER, load({}), {})


@pytest.fixture
def copy(exported: onnx.ModelProto) -> onnx.ModelProto:
    """A graph to be mutated."""
    graph = onnx.ModelProto()
    graph.CopyFrom(exported)
    return graph


def refuse(mutated: onnx.ModelProto, folder: Path) -> None:
    """The way of an artefact, up to its publication."""
    check(ENCODER, mutated)
    verify(ENCODER, load({}), target.Runner(target.write(mutated, folder)), {})


def test_the_graph_as_it_was_exported_passes(copy: onnx.ModelProto, tmp_path: Path) -> None:
    """What is not mutated is not refused."""
    check_weights(ENCODER, load({}), copy)
    check_epsilons(ENCODER, load({}), copy)
    refuse(copy, tmp_path)


# Finding and changing


def node_of(graph: onnx.GraphProto, kind: str, at: int = 0) -> onnx.NodeProto:
    return [node for node in graph.node if node.op_type == kind][at]


def producer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.node if name in node.output)


def insert(graph: onnx.GraphProto, before: onnx.NodeProto, kind: str, inputs: list[str], output: str) -> None:
    at = list(graph.node).index(before)
    graph.node.insert(at, helper.make_node(kind, inputs, [output], name=output))


def constant(graph: onnx.GraphProto, name: str, value: Array) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def change_weight(graph: onnx.GraphProto, name: str, change: Callable[[Floats], Floats]) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))


def square(graph: onnx.GraphProto) -> str:
    """The matrix of the first layer's queries."""
    return node_of(graph, "MatMul").input[1]


def rename_output(graph: onnx.GraphProto, name: str) -> str:
    """Frees an output's name, so that another node can give it."""
    for node in graph.node:
        for names in (node.input, node.output):
            for at, used in enumerate(names):
                names[at] = f"right_{name}" if used == name else used
    return f"right_{name}"


def replace_output(graph: onnx.GraphProto, name: str, kind: str, *others: str) -> None:
    """Puts one more operator between the right value of an output and the output."""
    right = rename_output(graph, name)
    graph.node.append(helper.make_node(kind, [right, *others], [name], name=f"wrong_{name}"))


# Mutations


def halve_precision(graph: onnx.GraphProto) -> None:
    """One matrix went through float16."""
    change_weight(graph, square(graph), lambda values: values.astype(np.float16).astype(np.float32))


def transpose_square(graph: onnx.GraphProto) -> None:
    """A square matrix stands the wrong way round: every shape still fits."""
    change_weight(graph, square(graph), lambda values: values.T.copy())


def default_epsilon(graph: onnx.GraphProto) -> None:
    """A layer norm without its epsilon, which ONNX then takes to be 1e-5 instead of 1e-12."""
    attributes = node_of(graph, "LayerNormalization").attribute
    attributes.remove(next(attribute for attribute in attributes if attribute.name == "epsilon"))


def tanh_gelu(graph: onnx.GraphProto) -> None:
    """The GELU of the tanh formula in place of the exact one."""
    gelu = node_of(graph, "Gelu")
    del gelu.attribute[:]
    gelu.attribute.append(helper.make_attribute("approximate", "tanh"))


def swap_outputs(graph: onnx.GraphProto) -> None:
    """Each of two outputs of one shape gives the other's values."""
    left, right = (rename_output(graph, name) for name in ("embedding", "pooled"))
    graph.node.append(helper.make_node("Identity", [left], ["pooled"], name="wrong_pooled"))
    graph.node.append(helper.make_node("Identity", [right], ["embedding"], name="wrong_embedding"))


def ignore_mask_in_attention(graph: onnx.GraphProto) -> None:
    """Tokens attend to padding."""
    bias = producer(graph, node_of(graph, "Softmax").input[0])
    bias.input[1] = constant(graph, "no_bias", np.zeros(1, np.float32))


def ignore_mask_in_pooling(graph: onnx.GraphProto) -> None:
    """The mean takes padding in."""
    weighted = producer(graph, node_of(graph, "ReduceSum").input[0])
    weighted.input[1] = constant(graph, "all_tokens", np.ones(1, np.float32))


def shift_positions(graph: onnx.GraphProto) -> None:
    """Every token is taken to stand one place further on."""
    change_weight(graph, "bert.embeddings.position_ids", lambda values: np.roll(values, -1, axis=1))


def reverse_batch(graph: onnx.GraphProto) -> None:
    """Items get one another's answers; a batch of one shows nothing."""
    for name, value in (("minus_one", -1), ("far", -(2**62)), ("zero", 0)):
        constant(graph, name, np.array([value], np.int64))
    replace_output(graph, "embedding", "Slice", "minus_one", "far", "zero", "minus_one")


def normalise_over_batch(graph: onnx.GraphProto) -> None:
    """A little of the batch's mean gets into every item."""
    right = rename_output(graph, "pooled")
    constant(graph, "first_axis", np.array([0], np.int64))
    constant(graph, "a_little", np.array([1e-3], np.float32))
    graph.node.append(helper.make_node("ReduceMean", [right, "first_axis"], ["mean"], name="mean"))
    graph.node.append(helper.make_node("Mul", ["mean", "a_little"], ["share"], name="share"))
    graph.node.append(helper.make_node("Add", [right, "share"], ["pooled"], name="mixed"))


def divide_by_no_tokens(graph: onnx.GraphProto) -> None:
    """A row of nothing but padding divides by zero."""
    node_of(graph, "Div").input[1] = node_of(graph, "Clip").input[0]


WRONG_ANSWERS: list[tuple[Mutation, str]] = [
    (halve_precision, "'embedding' differs from PyTorch by"),
    (transpose_square, "'embedding' differs from PyTorch by"),
    (default_epsilon, "'embedding' differs from PyTorch by"),
    (tanh_gelu, "'embedding' differs from PyTorch by"),
    (swap_outputs, "'embedding' differs from PyTorch by"),
    (ignore_mask_in_attention, "'embedding' differs from PyTorch by"),
    (ignore_mask_in_pooling, "'embedding' differs from PyTorch by"),
    (shift_positions, "'embedding' differs from PyTorch by"),
    (reverse_batch, "'embedding' differs from PyTorch by"),
    (normalise_over_batch, "'pooled' differs from PyTorch by"),
    (divide_by_no_tokens, r"'embedding' at batch 16, sequence 2 is nan at element \[15, 0\]"),
]


@pytest.mark.parametrize(("mutate", "words"), WRONG_ANSWERS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_graph_that_answers_otherwise_is_refused(
    copy: onnx.ModelProto, tmp_path: Path, mutate: Mutation, words: str
) -> None:
    """The graph is valid and has the declared form; the comparison with PyTorch finds it, and names the output."""
    mutate(copy.graph)
    with pytest.raises(VerificationFailed, match=rf"small_encoder: output {words}"):
        refuse(copy, tmp_path)


def fix_batch(graph: onnx.GraphProto) -> None:
    """An input takes batches of 3 only."""
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3


def fix_batch_within(graph: onnx.GraphProto) -> None:
    """A reshape in the middle takes batches of 3 only; inputs and outputs say nothing of it."""
    reshape = node_of(graph, "Reshape")
    reshape.input[1] = constant(graph, "fixed", np.array([3, -1, 2, 16], np.int64))


def give_float64(graph: onnx.GraphProto) -> None:
    """An output is float64, and the graph says so."""
    replace_output(graph, "embedding", "Cast")
    graph.node[-1].attribute.append(helper.make_attribute("to", TensorProto.DOUBLE))
    graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def give_int32(graph: onnx.GraphProto) -> None:
    """An output is int32, and the graph says so."""
    replace_output(graph, "pooled", "Cast")
    graph.node[-1].attribute.append(helper.make_attribute("to", TensorProto.INT32))
    graph.output[1].type.tensor_type.elem_type = TensorProto.INT32


def give_float64_in_secret(graph: onnx.GraphProto) -> None:
    """An output is float64, and the graph claims float32."""
    replace_output(graph, "embedding", "Cast")
    graph.node[-1].attribute.append(helper.make_attribute("to", TensorProto.DOUBLE))


def reorder_outputs(graph: onnx.GraphProto) -> None:
    """The outputs stand in the other order."""
    first, second = (onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in graph.output)
    graph.output[0].CopyFrom(second)
    graph.output[1].CopyFrom(first)


def drop_columns(graph: onnx.GraphProto) -> None:
    """An output has one element less."""
    for name, value in (("from", 0), ("to", WIDTH - 1), ("axis", 1)):
        constant(graph, name, np.array([value], np.int64))
    replace_output(graph, "pooled", "Slice", "from", "to", "axis")
    graph.output[1].type.tensor_type.shape.dim[1].dim_value = WIDTH - 1


WRONG_FORMS: list[tuple[Mutation, str]] = [
    (fix_batch, r"input 'input_ids' is int64 \[3, sequence\] in the graph"),
    (give_float64, r"output 'embedding' is float64 .* declared is FP32"),
    (give_int32, r"output 'pooled' is int32 .* declared is FP32"),
    (give_float64_in_secret, "the exported graph is not valid ONNX: .*embedding"),
    (reorder_outputs, "outputs are pooled, embedding; declared are embedding, pooled"),
    (drop_columns, r"output 'pooled' is float32 \[batch, 31\] in the graph, declared is FP32 \[batch, 32\]"),
]


@pytest.mark.parametrize(("mutate", "words"), WRONG_FORMS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_graph_of_another_form_is_refused(
    copy: onnx.ModelProto, tmp_path: Path, mutate: Mutation, words: str
) -> None:
    """Inputs and outputs are not as declared; the check of the graph finds it before anything runs."""
    mutate(copy.graph)
    with pytest.raises(ExportFailed, match=words):
        refuse(copy, tmp_path)


def test_a_graph_that_fails_at_a_declared_size_is_refused(copy: onnx.ModelProto, tmp_path: Path) -> None:
    """A batch that is fixed in the middle shows in no input or output; running it fails, in words, with the case."""
    fix_batch_within(copy.graph)
    with pytest.raises(BuildError, match=r"fails at .*\[1, 2\]"):
        refuse(copy, tmp_path)


# Weights


def float_weights(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 0:
            yield tensor.name, tuple(tensor.dims)


def change_median(change: Callable[[float], float]) -> Callable[[Floats], Floats]:
    """Changes the element of middling size: neither the one that matters most nor the least."""

    def changed(values: Floats) -> Floats:
        at = np.argsort(np.abs(values), axis=None)[values.size // 2]
        values.flat[at] = change(values.flat[at])
        return values

    return changed


def answers_differ(mutated: onnx.ModelProto, folder: Path) -> bool:
    """Whether the comparison with PyTorch finds a mutation, as it should, in the first output."""
    try:
        refuse(mutated, folder)
    except VerificationFailed as error:
        return "output 'embedding' differs" in str(error)
    return False


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda value: -value, id="flipped"),
        # The same road, and the longer one: half of the lost elements no answer shows.
        pytest.param(lambda value: 0.0, id="lost", marks=pytest.mark.slow),
    ],
)
def test_one_element_of_any_weight_is_missed(
    exported: onnx.ModelProto, tmp_path: Path, change: Callable[[float], float]
) -> None:
    """Of every weight one element in turn is lost, or has its sign flipped: the answers or the weight itself tell."""
    module, unseen = load({}), []
    for name, _ in float_weights(exported.graph):
        mutated = onnx.ModelProto()
        mutated.CopyFrom(exported)
        change_weight(mutated.graph, name, change_median(change))
        if answers_differ(mutated, tmp_path):
            continue
        unseen.append(name)
        with pytest.raises(ExportFailed, match=rf"weight '{name}' of the graph differs from the module's in 1 of"):
            check_weights(ENCODER, module, mutated)
    assert [name for name in unseen if not any(part in name for part in WITHOUT_EFFECT)] == []


def test_a_row_that_no_example_reaches_is_compared(copy: onnx.ModelProto, tmp_path: Path) -> None:
    """A damaged row of an embedding passes every comparison of answers, and is found all the same."""
    name = "bert.embeddings.token_type_embeddings.weight"
    change_weight(copy.graph, name, lambda values: np.stack([values[0], values[1] * 2]))
    refuse(copy, tmp_path)
    with pytest.raises(ExportFailed, match=rf"weight '{name}' of the graph differs from the module's in 32 of 64"):
        check_weights(ENCODER, load({}), copy)


def test_an_epsilon_that_no_example_shows_is_compared(copy: onnx.ModelProto, tmp_path: Path) -> None:
    """Without a row of zero variance an epsilon of 0 answers as 1e-12 does, and is found all the same."""
    next(one for one in node_of(copy.graph, "LayerNormalization").attribute if one.name == "epsilon").f = 0.0
    refuse(copy, tmp_path)
    with pytest.raises(ExportFailed, match=r"LayerNorm.*has epsilon 0 in the graph; the module's is 1e-12"):
        check_epsilons(ENCODER, load({}), copy)
