"""Inspection: what a module takes and answers is found by running it, or it is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modelyard_build.adoption.inspection import Inspected, inspect
from modelyard_build.adoption.origin import Draw, Limit, Opened
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Arrays, Axis
from support import strangers
from support.strangers import Answer, Moments, Stranger, floats

Dims = dict[str, tuple[int | str, ...]]


def opened(module: nn.Module, example: Arrays, **more: Any) -> Opened:
    return Opened(module.eval(), example, "return module", {"net": Path("net.py")}, **more)


def found(module: nn.Module, example: Arrays, **more: Any) -> Inspected:
    return inspect(opened(module, example, **more), lambda line: None)


def dims(inspected: Inspected, role: str) -> Dims:
    return {
        tensor.name: tuple(f"{dim.min}-{dim.max}" if isinstance(dim, Axis) else dim for dim in tensor.dims)
        for tensor in getattr(inspected, role)
    }


OUTPUTS: dict[str, tuple[Callable[..., Any], Dims]] = {
    "a tensor": (lambda layer, x: layer(x), {"output": (3,)}),
    "a tuple": (lambda layer, x: (layer(x), x * 2), {"output_0": (3,), "output_1": (4,)}),
    "a dict": (lambda layer, x: {"logits": layer(x)}, {"logits": (3,)}),
    "nested": (
        lambda layer, x: {"logits": layer(x), "aux": [x * 2, (layer(x).sum(-1), None)]},
        {"logits": (3,), "aux_0": (4,), "aux_1_0": (1,)},
    ),
    "a name of an input": (lambda layer, x: {"x": layer(x)}, {"x_out": (3,)}),
    "names that Triton cannot have": (
        lambda layer, x: {"a/b c": layer(x), "0": x + 1},
        {"a_b_c": (3,), "output_0": (4,)},
    ),
    "a named tuple": (lambda layer, x: Moments(layer(x), layer(x).exp()), {"mean": (3,), "spread": (3,)}),
    "a dataclass": (lambda layer, x: Answer(x.mean(), layer(x)), {"logits": (3,)}),
    "one number for each item": (lambda layer, x: layer(x).sum(-1), {"output": (1,)}),
    "the batch second": (lambda layer, x: layer(x)[None].expand(2, -1, -1), {"output": (2, 3)}),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_are_named_and_flattened(kind: str) -> None:
    """Whatever a module returns, each of its tensors becomes an output with a name of its own."""
    answer, expected = OUTPUTS[kind]
    module = Stranger(answer)
    inspected = found(module, floats(4, 4))
    assert dims(inspected, "outputs") == expected
    answered = inspected.adapted(module)(x=torch.ones(5, 4))
    assert [tuple(value.shape[1:]) for value in answered] == list(expected.values())
    assert {len(value) for value in answered} == {5}


LEFT_OUT: dict[str, tuple[Callable[..., Any], str]] = {
    "a loss": (lambda layer, x: (layer(x), x.mean()), "single number for the whole batch"),
    "a constant": (lambda layer, x: (layer(x), torch.ones(7, 2)), "whatever the number of items"),
    "a number": (lambda layer, x: (layer(x), 3), "it is a int, no tensor"),
    "a text": (lambda layer, x: (layer(x), "ok"), "it is a str, no tensor"),
    "items beside each other": (lambda layer, x: (layer(x), x @ x.T), "both follow the number of items"),
    "joined items": (lambda layer, x: (layer(x), layer(x).reshape(-1)), "no dimension of it is the number of items"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_is_no_answer_to_an_item_is_left_out(kind: str) -> None:
    """Losses, constants and the like are no outputs; a note says so, and the others are served."""
    answer, reason = LEFT_OUT[kind]
    inspected = found(Stranger(answer), floats(4, 4))
    assert list(dims(inspected, "outputs")) == ["output_0"]
    assert any("'[1]' is left out" in note and reason in note for note in inspected.notes)


REFUSED: dict[str, tuple[nn.Module, Arrays, str]] = {
    "a state": (strangers.Counting(), floats(4, 4), "changes the module itself: 'calls'"),
    "chance": (
        Stranger(lambda layer, x: nn.functional.dropout(layer(x), 0.5)),
        floats(4, 4),
        "differs between two runs",
    ),
    "items that mix": (Stranger(lambda layer, x: layer(x).softmax(0)), floats(4, 4), "items depend on one another"),
    "squeeze": (Stranger(lambda layer, x: layer(x).sum(-1, keepdim=True).squeeze()), floats(4, 4), "squeeze"),
    "no batch": (Stranger(lambda layer, x: layer(x.T.reshape(-1, 4))), floats(4, 3), "first dimension of every"),
    "nothing": (Stranger(lambda layer, x: x.mean()), floats(4, 4), "nothing that can be served"),
    "complex": (Stranger(lambda layer, x: torch.fft.rfft(layer(x))), floats(4, 4), "view_as_real"),
    "an error": (Stranger(lambda layer, x: layer(x)), floats(4, 5), "fails on the example .*test_inspection.py:"),
    "sizes by values": (
        Stranger(lambda layer, x: layer(x)[:, : int((x > 0).sum() % 3) + 1]),
        floats(4, 4),
        "its size depends on values",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_served_is_refused(kind: str) -> None:
    """The message says what is wrong and what to do, before anything is written."""
    module, example, message = REFUSED[kind]
    with pytest.raises(AdoptionFailed, match=message):
        found(module, example)


def test_inputs_go_where_forward_takes_them() -> None:
    """By position alone, by keyword alone; a number for each item is a row of one outside."""
    example = {**floats(4, 4), "scale": np.arange(1, 5, dtype=np.float32)}
    module = strangers.KeywordOnly()
    inspected = found(module, example)
    assert dims(inspected, "inputs") == {"x": (4,), "scale": (1,)}
    x, scale = torch.ones(2, 4), torch.tensor([[2.0], [3.0]])
    (answered,) = inspected.adapted(module)(x=x, scale=scale)
    assert torch.equal(answered, module(x, scale=scale[:, 0]))


def test_inputs_without_names_of_their_own() -> None:
    """What has no parameter of its name goes to *args, in order."""
    example = {"left": floats(4, 4)["x"], "right": floats(4, 4)["x"]}
    assert list(dims(found(strangers.Spread(), example), "inputs")) == ["left", "right"]


def test_float64_examples_are_served_in_float32() -> None:
    """What numpy makes by default is cast, and said."""
    inspected = found(Stranger(lambda layer, x: layer(x)), {"x": np.ones((4, 4))})
    assert inspected.inputs[0].dtype == "FP32"
    assert any("FP32" in note for note in inspected.notes)


def test_inputs_that_must_agree_share_an_axis() -> None:
    """Two inputs that fail alone vary together, as far as the table of positions goes; an output follows."""
    draws = {"ids": Draw(0, 50), "mask": Draw(ones=True)}
    inspected = found(strangers.Tokens(), strangers.tokens(), draws=draws)
    longest = f"1-{strangers.Tokens.LONGEST}"
    assert dims(inspected, "inputs") == {"ids": (longest,), "mask": (longest,)}
    assert dims(inspected, "outputs") == {"logits": (longest, 3), "pooled": (8,)}
    assert [axis.name for axis in inspected.axes] == ["length"]


def test_an_output_may_have_an_axis_of_its_own() -> None:
    """A size that follows by a function, such as a half, is an axis that only the output has."""
    halved = Stranger(lambda layer, x: nn.functional.avg_pool1d(layer(x).transpose(1, 2), 2).transpose(1, 2))
    inspected = found(halved, floats(4, 30, 4))
    assert dims(inspected, "inputs") == {"x": ("2-512", 4)}
    assert dims(inspected, "outputs") == {"output": ("1-256", 3)}
    assert inspected.outputs[0].dims[0] == Axis("output_1", 1, 256)


def test_sizes_in_steps_are_fixed_and_said() -> None:
    """An axis has every size between its limits: one that works in steps is none."""
    halves = Stranger(lambda layer, x: layer(x.reshape(len(x), -1, 2, 4)).sum(2))
    inspected = found(halves, floats(4, 20, 4))
    assert dims(inspected, "inputs") == {"x": (20, 4)}
    assert any("in steps of 2" in note for note in inspected.notes)


def test_height_and_width_vary_by_themselves() -> None:
    """Each has its own range and its usual name."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    example = {"input": floats(4, 3, 20, 24)["x"]}
    inspected = found(net, example, limits={"input": {2: Limit("height", 5, 64), 3: Limit("width", 5, 48)}})
    assert dims(inspected, "inputs") == {"input": (3, "5-64", "5-48")}
    assert [axis.name for axis in inspected.axes] == ["height", "width"]


def test_a_state_with_the_batch_second_is_served_batch_first() -> None:
    """What recurrent layers return is turned, so that each request gets its own."""
    module = strangers.Recurrent()
    inspected = found(module, floats(4, 10, 4), limits={"x": {1: Limit("length", 4, 32)}})
    assert inspected.batch_at == {"output_1": 1}
    x = torch.ones(5, 10, 4)
    assert torch.equal(inspected.adapted(module)(x=x)[1], module(x)[1].movedim(1, 0))
