"""Refusals of the exporter: a module that cannot be exported is refused in words, with the line that is to blame."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from modelyard_build import model as declare
from modelyard_build.errors import ExportFailed
from modelyard_build.export import export
from modelyard_build.model import Arrays, Model
from support.small_models import POOLER, Pooler, examples

THIS_FILE = "tests/build/test_export_refusals.py"


def refusal(module: nn.Module, model: Model = POOLER) -> str:
    """What the exporter says; every message names the model and stays short."""
    with pytest.raises(ExportFailed) as caught:
        export(model, module.eval(), {})
    message = str(caught.value)
    assert message.startswith("pooler: ")
    assert "\n" not in message
    assert len(message) < 700
    return message


def line_of(module: type[nn.Module], code: str) -> str:
    """How a message names the line of `forward` that contains some code."""
    lines, first = inspect.getsourcelines(module)
    at = next(index for index, line in enumerate(lines) if code in line)
    return f"{THIS_FILE}:{first + at}, `{lines[at].strip()}`"


# What a graph cannot hold


class UnknownOperator(Pooler):
    """Calls an operator that ONNX does not have."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """A Bessel function of the scores."""
        scores: Tensor = torch.special.bessel_j0(super().forward(input_ids, attention_mask))
        return scores


def test_an_operator_that_does_not_export_is_named_with_its_line() -> None:
    """The operator, the line that calls it, and three ways out."""
    message = refusal(UnknownOperator())
    assert f"operator prims.bessel_j0 at {line_of(UnknownOperator, 'bessel_j0(super')} has no ONNX form" in message
    assert "Replace it" in message
    assert "`translations`" in message
    assert "PythonModel" in message


class Nested(nn.Module):
    """Holds the trouble two modules deep, inside a layer of torch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(UnknownOperatorLayer())
        self.pooler = Pooler()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Runs the layers over the scores."""
        scores: Tensor = self.layers(self.pooler(input_ids, attention_mask))
        return scores


class UnknownOperatorLayer(nn.Module):
    """A layer with an operator that ONNX does not have."""

    def forward(self, states: Tensor) -> Tensor:
        """A Bessel function."""
        changed: Tensor = torch.special.bessel_j0(states)
        return changed


def test_the_line_is_the_layers_not_torchs() -> None:
    """Frames of torch.nn between the layer and the operator are passed over."""
    assert line_of(UnknownOperatorLayer, "bessel_j0(states)") in refusal(Nested())


def test_a_translation_makes_an_operator_export() -> None:
    """What the message advises works: an ONNX form in `translations` is used."""
    from onnxscript import opset20

    def cosine(x: object) -> object:
        return opset20.Cos(x)

    graph = export(POOLER, UnknownOperator().eval(), {}, translations={torch.ops.prims.bessel_j0.default: cosine})
    assert "Cos" in {node.op_type for node in graph.graph.node}


class Branch(Pooler):
    """Branches on a value."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Doubles the scores of some batches."""
        scores = super().forward(input_ids, attention_mask)
        if scores.sum() > 0:
            return scores
        return scores * 2


class ItemLoop(Pooler):
    """Takes a value out of a tensor and loops over it."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Adds the scores of each prefix."""
        longest = attention_mask.sum(1).max().item()
        total = torch.zeros_like(super().forward(input_ids, attention_mask))
        for length in range(int(longest)):
            total = total + super().forward(input_ids[:, : length + 1], attention_mask[:, : length + 1])
        return total


class ItemBranch(Pooler):
    """Takes a value out of a tensor and branches on it."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Doubles the scores of batches with a token."""
        most = attention_mask.max().item()
        return super().forward(input_ids, attention_mask) * (2 if most > 0 else 1)


@pytest.mark.parametrize(("module", "code"), [(Branch, "if scores"), (ItemLoop, "for length"), (ItemBranch, "if most")])
def test_data_dependent_code_is_named_with_its_line(module: type[nn.Module], code: str) -> None:
    """A branch or loop over values: the line, why it cannot be in a graph, and what to write instead."""
    message = refusal(module())
    assert f"the Python code at {line_of(module, code)} depends on the value of a tensor" in message
    assert "torch.where or torch.cond" in message
    assert ".item()" in message


# Axes that tracing fixes


class FixedBatch(Pooler):
    """Knows the batch of the traced example."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Fixes the batch."""
        return super().forward(input_ids, attention_mask).reshape(3, 5)


class UnrolledSequence(Pooler):
    """Loops over the positions in Python."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Adds position after position."""
        total = self.embedding(input_ids[:, 0])
        for position in range(1, input_ids.shape[1]):
            total = total + self.embedding(input_ids[:, position])
        scores: Tensor = self.out(total)
        return scores


class ShortOnly(Pooler):
    """Treats long inputs otherwise."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Doubles the scores of long inputs."""
        scores = super().forward(input_ids, attention_mask)
        if input_ids.shape[1] > 10:
            scores = scores * 2
        return scores


class ByThrees(Pooler):
    """Treats every third length otherwise: neither the shortest nor the longest shows it."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Doubles the scores of every third length."""
        scores = super().forward(input_ids, attention_mask)
        if input_ids.shape[1] % 3 == 1:
            scores = scores * 2
        return scores


class PairsOfTokens(Pooler):
    """Needs an even number of tokens."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Averages pairs."""
        batch, length = input_ids.shape
        pairs = self.embedding(input_ids).reshape(batch, length // 2, 2, 16)
        scores: Tensor = self.out(pairs.mean((1, 2)))
        return scores


@pytest.mark.parametrize(
    ("module", "code", "axis", "condition"),
    [
        (FixedBatch, "reshape(3, 5)", "batch", "where 5 * batch == 15, so not at batch 2"),
        (UnrolledSequence, "for position", "sequence", "where sequence == 4, so not at sequence 2"),
        (ShortOnly, "if input_ids", "sequence", "where sequence <= 10, so not at sequence 11"),
        (ByThrees, "if input_ids", "sequence", "where sequence % 3 == 1, so not at sequence 2"),
        (PairsOfTokens, "reshape(batch", "batch' and 'sequence", "so not at batch 2, sequence 3"),
    ],
)
def test_code_that_fixes_an_axis_is_named_with_its_line(
    module: type[nn.Module], code: str, axis: str, condition: str
) -> None:
    """The axis, the line, the condition in the declaration's own names, and a declared size that breaks it."""
    message = refusal(module())
    assert f"the code at {line_of(module, code)} fixes or narrows axis '{axis}'" in message
    assert condition in message


class ThroughNumpy(Pooler):
    """Makes torch trace in its other way, which notes no lines, and treats long inputs otherwise."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Doubles the scores of long inputs."""
        scores = torch.from_numpy(super().forward(input_ids, attention_mask).detach().numpy() * 2)
        if input_ids.shape[1] > 10:
            scores = scores * 2
        return scores


def test_an_axis_that_is_narrowed_in_silence_is_refused() -> None:
    """Where no line is known, the sizes that the traced program accepts are held against the declared ones."""
    message = refusal(ThroughNumpy())
    assert "tracing narrowed axis 'sequence' of input 'input_ids' to" in message
    assert "to 10; declared is 2 to 24" in message


def test_an_axis_without_room_for_a_trace_is_refused() -> None:
    """An axis of two sizes has none that is not a limit, which tracing could take for a constant."""
    narrow = declare.Axis("sequence", 4, 5)
    inputs = tuple(declare.Tensor(tensor.name, tensor.dtype, (narrow,)) for tensor in POOLER.inputs)
    assert "axis 'sequence' spans 4 to 5, which leaves no size to trace it with" in refusal(
        Pooler(), replace(POOLER, inputs=inputs)
    )


class Harmless(Pooler):
    """Asserts what every declared size fulfils, and slices a table of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(24, 16))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Adds positions that exist for every declared length."""
        assert input_ids.shape[1] <= 24
        states = self.embedding(input_ids) + self.positions[: input_ids.shape[1]]
        scores: Tensor = self.out(self.norm(states).mean(1))
        return scores


def test_a_condition_that_every_declared_size_fulfils_is_no_trouble() -> None:
    """Bounds that the declaration keeps to are not held against the module."""
    assert export(POOLER, Harmless().eval(), {}).graph.output[0].name == "scores"


class Recurrent(Pooler):
    """An LSTM, which torch traces through a loop of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 16, batch_first=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The scores of the last state."""
        scores: Tensor = self.out(self.lstm(self.embedding(input_ids))[0][:, -1])
        return scores


def test_a_recurrent_module_exports_with_a_free_sequence() -> None:
    """Conditions inside torch's own loops are not mistaken for the module's."""
    graph = export(POOLER, Recurrent().eval(), {})
    assert "LSTM" in {node.op_type for node in graph.graph.node}


def test_a_model_for_single_items_exports() -> None:
    """max_batch_size 1 is traced with a larger batch all the same."""
    graph = export(replace(POOLER, max_batch_size=1), Pooler().eval(), {})
    assert graph.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


# Outputs


@dataclass
class Answer:
    """An output in a class of its own."""

    scores: Tensor


class Wrapped(Pooler):
    """Puts its scores into some structure."""

    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> object:  # type: ignore[override]  # the point
        """The scores, wrapped."""
        return self.wrap(super().forward(input_ids, attention_mask))


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (lambda scores: {"scores": scores}, "forward returns a dict of 'scores'; expected is a tensor for each of"),
        (lambda scores: None, "forward returns None; expected"),
        (lambda scores: (scores, None), "forward returns a tuple of Tensor, NoneType; expected"),
        (lambda scores: ((scores,),), "forward returns a tuple of tuple; expected"),
        (Answer, "forward returns a Answer; expected"),
        (lambda scores: (scores, scores), "forward returns 2 tensors, declared are 1 outputs: 'scores'"),
        (lambda scores: (), "forward returns 0 tensors, declared are 1 outputs: 'scores'"),
        (lambda scores: scores.sum(), "'scores' is a single number for the whole batch; declared is FP32 [batch 3, 5]"),
        (lambda scores: scores[:, :4], "is float32 [3, 4]; declared is FP32 [batch 3, 5]"),
        (lambda scores: scores.double(), "is float64 [3, 5]; declared is FP32 [batch 3, 5]"),
        (lambda scores: scores.argmax(1), "is int64 [3]; declared is FP32 [batch 3, 5]"),
        (lambda scores: scores / 0 * 0, "'scores' of the PyTorch module has 15 of 15 elements that are NaN"),
        (lambda scores: functional.dropout(scores, 0.5), "differs between two runs on the same input"),
    ],
)
def test_what_forward_returns_is_held_against_the_declaration(wrap: Callable[[Tensor], object], words: str) -> None:
    """Structure, count, shape, dtype and repeatability of the outputs, before anything is traced."""
    assert words in refusal(Wrapped(wrap))


# Inputs and examples


class TokensOnly(Pooler):
    """Takes no mask."""

    def forward(self, input_ids: Tensor) -> Tensor:  # type: ignore[override]  # the point
        """Scores without a mask."""
        return super().forward(input_ids, torch.ones_like(input_ids))


class TypesToo(Pooler):
    """Wants one input more."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:  # type: ignore[override]  # the point
        """Scores."""
        return super().forward(input_ids, attention_mask + token_type_ids)


def test_inputs_are_held_against_the_parameters_of_forward() -> None:
    """An input that forward does not take, and one that it needs, are named."""
    assert "forward takes 'input_ids'; declared inputs are 'input_ids', 'attention_mask'. 'attention_mask' is not" in (
        refusal(TokensOnly())
    )
    assert "'token_type_ids' is missing" in refusal(TypesToo())


class Broken(Pooler):
    """Fails in PyTorch, too."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Multiplies matrices that do not fit."""
        scores: Tensor = self.out(self.embedding(input_ids).transpose(1, 2))
        return scores


def test_a_module_that_fails_in_pytorch_is_not_blamed_on_the_export() -> None:
    """The error of forward itself is passed on, with the shapes that it got."""
    message = refusal(Broken())
    assert f"the PyTorch module itself fails at {line_of(Broken, 'transpose(1, 2)')} on examples()" in message
    assert "(input_ids [3, 4], attention_mask [3, 4])" in message
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in message


Change = Callable[[Arrays], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: {"ids": arrays["input_ids"]}, "returned 'ids'; expected is a dict of 'input_ids'"),
        (lambda arrays: list(arrays.values()), "returned a list; expected is a dict of 'input_ids'"),
        (
            lambda arrays: {**arrays, "input_ids": arrays["input_ids"].tolist()},
            "returned a list for 'input_ids'; expected is a numpy array",
        ),
        (
            lambda arrays: {**arrays, "input_ids": arrays["input_ids"].astype(np.int32)},
            "returned 'input_ids' as int32 [3, 4]; declared is INT64 [batch 3, sequence 4]",
        ),
        (lambda arrays: {name: array[:, :3] for name, array in arrays.items()}, "as int64 [3, 3]; declared is INT64"),
        (lambda arrays: {name: array[:2] for name, array in arrays.items()}, "as int64 [2, 4]; declared is INT64"),
        (lambda arrays: {name: array[0] for name, array in arrays.items()}, "as int64 [4]; declared is INT64"),
    ],
)
def test_examples_are_held_against_the_declaration(change: Change, words: str) -> None:
    """Names, type, dtype, sizes and batch of what examples() returns."""

    def changed(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
        return change(examples(files, batch, sizes))  # type: ignore[return-value]  # the point

    message = refusal(Pooler(), replace(POOLER, examples=changed))
    assert "examples() for batch 3, sequence 4 returned" in message
    assert words in message


def test_examples_that_fail_are_refused_with_their_line() -> None:
    """What examples() raises is passed on, with the sizes that were asked for and the line."""

    def failing(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
        return {"input_ids": np.load(files["tokens"])}

    message = refusal(Pooler(), replace(POOLER, examples=failing))
    assert "examples() for batch 3, sequence 4 failed at tests/build/test_export_refusals.py:" in message
    assert "KeyError: 'tokens'" in message


# Weights


def with_weight(change: Callable[[Pooler], object]) -> Pooler:
    """A pooler, eval mode, with something done to it."""
    pooler = Pooler().eval()
    with torch.no_grad():
        change(pooler)
    return pooler


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (
            with_weight(lambda pooler: pooler.out.weight[0, :3].fill_(float("nan"))),
            "parameter 'out.weight' holds 3 of 80 elements that are NaN or infinite",
        ),
        (with_weight(lambda pooler: pooler.out.bias[1].fill_(float("inf"))), "parameter 'out.bias' holds 1 of 5"),
        (with_weight(lambda pooler: pooler.half()), "parameter 'embedding.weight' is float16; expected is float32"),
        (with_weight(lambda pooler: pooler.out.bfloat16()), "parameter 'out.weight' is bfloat16; expected is float32"),
        (with_weight(lambda pooler: pooler.to("meta")), "parameter 'embedding.weight' is on meta; expected is the CPU"),
    ],
)
def test_weights_that_cannot_be_served_are_refused(module: nn.Module, words: str) -> None:
    """NaN, infinity, another precision or another device, by the parameter's name, before anything is traced."""
    assert words in refusal(module)


def test_a_mask_of_infinity_is_a_good_buffer() -> None:
    """Only weights must be finite: a causal mask is made of -inf."""

    class Masked(Pooler):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.full((5, 5), -torch.inf).triu(1))

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return super().forward(input_ids, attention_mask) @ self.get_buffer("mask").softmax(-1)

    assert export(POOLER, Masked().eval(), {}).graph.output[0].name == "scores"


@pytest.mark.parametrize(("part", "words"), [("", "the module itself"), ("norm", "norm")])
def test_a_module_in_train_mode_is_refused(part: str, words: str) -> None:
    """Train mode anywhere in the module is refused by name; the exporter does not switch it off itself."""
    module = Pooler().eval()
    module.get_submodule(part).training = True
    with pytest.raises(ExportFailed, match=rf"in train mode \({words}\).*return module.eval\(\)"):
        export(POOLER, module, {})


def test_what_load_returns_must_be_a_module() -> None:
    """A state dict, a common mistake, is named for what it is."""
    with pytest.raises(ExportFailed, match=r"load\(\) returned a OrderedDict; expected is a torch.nn.Module"):
        export(POOLER, Pooler().eval().state_dict(), {})  # type: ignore[arg-type]  # the point


def test_nothing_of_torchs_chatter_reaches_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """A refusal is the message alone: no drawing of a graph, no log line, no warning."""
    refusal(Branch())
    refusal(UnknownOperator())
    assert capfd.readouterr() == ("", "")


def test_an_output_declared_with_an_axis_of_its_own_is_accepted() -> None:
    """Where no input has the axis, any size fits before the trace, and the graph must keep it free."""

    class PerToken(Pooler):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            scores: Tensor = self.out(self.embedding(input_ids[:, 1:]))
            return scores

    tokens = declare.Tensor("scores", "FP32", (declare.Axis("tokens", 1, 23), 5))
    dims = export(replace(POOLER, outputs=(tokens,)), PerToken().eval(), {}).graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [0, 0, 5]
