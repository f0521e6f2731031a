"""Export: what is written is what was declared, for every size, on every run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from modelyard_build import model as declare
from modelyard_build.errors import ExportFailed
from modelyard_build.export import check, check_release, export, traced_sizes
from modelyard_build.repository.releases import release
from modelyard_build.targets import onnxruntime as target
from support.small_models import POOLER, Pooler, with_output


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return export(POOLER, Pooler().eval(), {})


def test_batch_and_sequence_are_symbolic(graph: onnx.ModelProto) -> None:
    """Both declared axes stay names in the graph; nothing of the traced example's sizes is left."""
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.graph.input, *graph.graph.output]
    }
    assert shapes == {
        "input_ids": ["batch", "sequence"],
        "attention_mask": ["batch", "sequence"],
        "scores": ["batch", 5],
    }


@pytest.mark.parametrize(("batch", "sequence"), [(1, 2), (1, 24), (2, 7), (16, 2), (16, 24)])
def test_runs_at_sizes_that_were_not_traced(graph: onnx.ModelProto, tmp_path: Path, batch: int, sequence: int) -> None:
    """The dynamic axes are proven by running: each corner answers as PyTorch does."""
    run = target.Runner(target.write(graph, tmp_path))
    inputs = POOLER.examples({}, batch, {"sequence": sequence})
    with torch.inference_mode():
        expected = Pooler().eval()(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    np.testing.assert_allclose(run(inputs)["scores"], expected.numpy(), atol=1e-6)


def test_never_traces_a_batch_of_one_or_an_axis_at_its_limit() -> None:
    """The example's sizes differ from 1, from each other, from the batch and from the axis's ends."""
    sizes = traced_sizes(POOLER)
    assert sizes["sequence"] not in (1, 2, 3, 24)


def test_same_module_gives_the_same_bytes(graph: onnx.ModelProto) -> None:
    """Two exports are byte-identical, and hold no path of the machine that wrote them."""
    again = export(POOLER, Pooler().eval(), {})
    assert again.SerializeToString(deterministic=True) == graph.SerializeToString(deterministic=True)
    assert str(Path(__file__).parent.parent).encode() not in graph.SerializeToString()


def test_an_output_may_be_named_like_an_inner_value(tmp_path: Path) -> None:
    """`embedding` is what torch names the inner Gather; the graph must load all the same."""
    model = with_output("embedding")
    run = target.Runner(target.write(export(model, Pooler().eval(), {}), tmp_path))
    assert run(model.examples({}, 2, {"sequence": 5}))["embedding"].shape == (2, 5)


def rewritten(graph: onnx.ModelProto, change: Callable[[onnx.GraphProto], object]) -> onnx.ModelProto:
    """A copy of the graph with something done to it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    change(copy.graph)
    return copy


def set_dim(value: onnx.ValueInfoProto, at: int, size: int) -> None:
    value.type.tensor_type.shape.dim[at].dim_value = size


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda graph: set_dim(graph.input[0], 0, 3), r"input 'input_ids' is int64 \[3, sequence\] in the graph"),
        (lambda graph: set_dim(graph.input[1], 1, 4), r"input 'attention_mask' is int64 \[batch, 4\] in the graph"),
        (lambda graph: graph.output.extend(graph.input[:1]), "outputs are scores, input_ids; declared are scores"),
        (lambda graph: graph.node.pop(), "not valid ONNX"),
        (lambda graph: graph.initializer.pop(0), "not valid ONNX"),
        (lambda graph: graph.initializer[0].dims.append(2), r"not valid ONNX: weight '.*' holds 3200 bytes, its shape"),
    ],
)
def test_a_graph_is_held_against_the_declaration(
    graph: onnx.ModelProto, change: Callable[[onnx.GraphProto], object], words: str
) -> None:
    """Fixed axes, other outputs and broken graphs are refused, whoever wrote the graph."""
    with pytest.raises(ExportFailed, match=words):
        check(POOLER, rewritten(graph, change))


def test_a_graph_of_another_width_names_both_sides(graph: onnx.ModelProto) -> None:
    """A width that the graph does not have is refused with what is in the graph and what was declared."""
    wrong = replace(POOLER, outputs=(declare.Tensor("scores", "FP32", (6,)),))
    with pytest.raises(ExportFailed, match=r"output 'scores' is float32 \[batch, 5\].*declared is FP32 \[batch, 6\]"):
        check(wrong, rewritten(graph, lambda same: None))


def test_a_release_that_cannot_read_the_graph_is_named(graph: onnx.ModelProto) -> None:
    """An opset beyond the release's ONNX Runtime is refused with both numbers."""
    old = replace(release("26.06"), max_opset=18)
    with pytest.raises(ExportFailed, match=r"opset 20 .*reads up to opset 18"):
        check_release(POOLER, graph, old)
    check_release(POOLER, graph, release("26.06"))
