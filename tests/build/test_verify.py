"""Verification: a right artefact passes, every kind of wrong one is caught and the message says where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from modelyard_build.errors import VerificationFailed
from modelyard_build.export import export
from modelyard_build.model import Arrays
from modelyard_build.similarity import min_cosine
from modelyard_build.targets import onnxruntime as target
from modelyard_build.verify import cases, noise_floor, verify
from support.small_models import POOLER, Pooler

Mutation = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return export(POOLER, Pooler().eval(), {})


def run_verify(graph: onnx.ModelProto, folder: Path) -> dict[str, object]:
    return verify(POOLER, Pooler().eval(), target.Runner(target.write(graph, folder)), {})


def test_a_right_artefact_passes_with_evidence(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """The evidence holds the floor, the error in its units, and the batch corners at both ends of the axis."""
    evidence = run_verify(graph, tmp_path)
    scores = evidence["outputs"]["scores"]  # type: ignore[index]  # a JSON tree
    assert 0 < scores["noise_floor"] < 1e-5
    assert scores["max_error"] <= scores["bound"] == 4 * scores["noise_floor"]
    assert evidence["cases"] == [f"batch {b}, sequence {s}" for b in (1, 2, 8, 16) for s in (2, 24)]


def weight(graph: onnx.ModelProto, shape: tuple[int, ...]) -> onnx.TensorProto:
    return next(tensor for tensor in graph.graph.initializer if tuple(tensor.dims) == shape)


def set_element(tensor: onnx.TensorProto, at: tuple[int, ...], change: Callable[[float], float]) -> None:
    values = numpy_helper.to_array(tensor).copy()
    values[at] = change(values[at])
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def remove_one_weight(graph: onnx.ModelProto) -> None:
    set_element(weight(graph, (50, 16)), (17, 3), lambda value: 0.0)


def flip_one_sign(graph: onnx.ModelProto) -> None:
    set_element(weight(graph, (5,)), (2,), lambda value: -value)


def drop_epsilon(graph: onnx.ModelProto) -> None:
    node = next(node for node in graph.graph.node if node.op_type == "LayerNormalization")
    next(attribute for attribute in node.attribute if attribute.name == "epsilon").f = 1e-12


def ignore_mask(graph: onnx.ModelProto) -> None:
    cast = next(node for node in graph.graph.node if "attention_mask" in node.input)
    graph.graph.node.insert(
        0, onnx.helper.make_node("Where", ["all_true", "input_ids", "input_ids"], ["unmasked"], name="unmasked")
    )
    graph.graph.initializer.append(numpy_helper.from_array(np.array([True]), "all_true"))
    cast.input[list(cast.input).index("attention_mask")] = "unmasked"


@pytest.mark.parametrize("mutate", [remove_one_weight, flip_one_sign, drop_epsilon, ignore_mask])
def test_a_wrong_graph_is_caught(graph: onnx.ModelProto, tmp_path: Path, mutate: Mutation) -> None:
    """One weight lost, one sign flipped, an epsilon dropped, a mask ignored: each fails and names the worst element."""
    mutated = onnx.ModelProto()
    mutated.CopyFrom(graph)
    mutate(mutated)
    with pytest.raises(
        VerificationFailed, match=r"output 'scores' differs from PyTorch by .*allowed is .*Worst at batch"
    ):
        run_verify(mutated, tmp_path)


def corrupted(
    change: Callable[[Arrays, Arrays], Arrays], folder: Path, graph: onnx.ModelProto
) -> Callable[[Arrays], Arrays]:
    run = target.Runner(target.write(graph, folder))
    return lambda inputs: change(inputs, run(inputs))


def test_items_that_mix_within_a_batch_are_caught(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """An artefact that answers a batch well only when all its items come together is refused."""

    def neighbour(inputs: Arrays, outputs: Arrays) -> Arrays:
        return outputs if len(outputs["scores"]) > 1 else {"scores": outputs["scores"] + 1e-4}

    with pytest.raises(VerificationFailed, match="differs"):
        verify(POOLER, Pooler().eval(), corrupted(neighbour, tmp_path, graph), {})


def test_not_a_number_is_caught(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """NaN compares equal to nothing, so it is looked for on its own."""

    def poison(inputs: Arrays, outputs: Arrays) -> Arrays:
        outputs["scores"][-1, -1] = np.nan
        return outputs

    with pytest.raises(VerificationFailed, match=r"scores' at batch 1, sequence 2 is nan at element \[0, 4\]"):
        verify(POOLER, Pooler().eval(), corrupted(poison, tmp_path, graph), {})


def test_an_answer_that_does_not_repeat_is_caught(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """Dropout left on, or any other chance, is refused even when it stays within the tolerance."""
    generator = np.random.default_rng(0)

    def jitter(inputs: Arrays, outputs: Arrays) -> Arrays:
        return {"scores": outputs["scores"] + generator.normal(0, 1e-7, outputs["scores"].shape).astype(np.float32)}

    with pytest.raises(VerificationFailed, match="two runs on the same input"):
        verify(POOLER, Pooler().eval(), corrupted(jitter, tmp_path, graph), {})


def test_a_wrong_shape_is_caught(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """A missing column is named with both shapes before any number is compared."""
    with pytest.raises(VerificationFailed, match=r"has shape \[1, 4\], PyTorch's has \[1, 5\]"):
        verify(
            POOLER,
            Pooler().eval(),
            corrupted(lambda inputs, outputs: {"scores": outputs["scores"][:, :4]}, tmp_path, graph),
            {},
        )


def test_the_floor_of_an_exact_output_is_one_unit_in_the_last_place() -> None:
    """Where float32 and float64 agree to the bit, rounding of the largest value is still allowed."""
    exact = [np.array([[1.0, -8.0]])]
    assert noise_floor(exact, [array.astype(np.float32) for array in exact]) == 8 * np.finfo(np.float32).eps
    assert noise_floor([np.array([[1, 2]])], [np.array([[1, 2]])]) == 0.0


def test_cosine_of_zero_rows() -> None:
    """Two zero rows are alike; a zero row against another is not."""
    zero, one = np.zeros((1, 3)), np.ones((1, 3))
    assert min_cosine(zero, zero) == 1.0
    assert min_cosine(one, zero) == 0.0


def test_the_largest_batch_is_always_a_case() -> None:
    """The corners hold max_batch_size itself, whatever it is."""
    assert {case.batch for case in cases(POOLER)} == {1, 2, 8, 16}
