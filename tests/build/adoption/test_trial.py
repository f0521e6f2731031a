"""The trial: a declaration is exported before it stands; what tracing narrows is narrowed, and said."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from torch import nn

from modelyard_build.adoption import declaration
from modelyard_build.adoption.inspection import inspect
from modelyard_build.adoption.origin import Draw, Limit, Opened, Wish
from modelyard_build.adoption.trial import Trial, attempt, declared
from modelyard_build.export import axes_of
from modelyard_build.model import Arrays, Axis
from support import strangers
from support.strangers import Stranger, floats

WISH = Wish("stranger", "strangers.py")


def tried(name: str, example: Arrays, **more: object) -> Trial:
    """The trial of a module of `support.strangers`, as a declaration that imports it."""
    module: nn.Module = getattr(strangers, name)().eval()
    load = f"from support import strangers\n\nmodule = strangers.{name}()\nreturn module"
    opened = Opened(module, example, load, {"strangers": Path(strangers.__file__)}, **more)  # type: ignore[arg-type]
    return attempt(WISH, opened, inspect(opened, lambda line: None), lambda line: None)


def test_tokens_export_at_every_size() -> None:
    """Two inputs with one axis: exported, and the graph answers as PyTorch at sizes that were not traced."""
    trial = tried("Tokens", strangers.tokens(), draws={"ids": Draw(0, 50), "mask": Draw(ones=True)})
    assert trial.refused == ""
    assert trial.inspected.inputs[0].dims == (Axis("length", 1, strangers.Tokens.LONGEST, 12),)
    assert "batch 1, length 1; batch 5, length 14; batch 2, length 40" in trial.inspected.proven[-1]


def test_a_decision_by_a_size_narrows_the_axis() -> None:
    """A graph holds the way that the example goes: the axis ends where the other begins, and the reason is a line."""
    trial = tried("Branching", floats(4, 20, 4))
    assert trial.refused == ""
    assert trial.inspected.inputs[0].dims == (Axis("length", 1, 32, 20), 4)
    assert any("strangers.py" in note and "length <= 32" in note for note in trial.inspected.notes)


def test_the_other_side_of_a_decision() -> None:
    """An example beyond the decision is declared for what lies there."""
    trial = tried("Branching", floats(4, 50, 4), limits={"x": {1: Limit("length", 1, 64)}})
    assert trial.refused == ""
    assert trial.inspected.inputs[0].dims == (Axis("length", 33, 64, 50), 4)


def test_an_unrolled_loop_fixes_the_axis() -> None:
    """Steps in Python are traced for one length; the declaration has that length, and says why."""
    trial = tried("Looping", floats(4, 10, 4), limits={"x": {1: Limit("length", 4, 32)}})
    assert trial.refused == ""
    assert trial.inspected.inputs[0].dims == (10, 4)
    assert any("length is fixed at 10" in note for note in trial.inspected.notes)


def test_a_decision_by_values_is_refused() -> None:
    """No graph holds it: the reason names the line."""
    trial = tried("ByValue", floats(4, 4))
    assert "data-dependent control flow" in trial.refused
    assert "strangers.py" in trial.refused


def test_the_declaration_says_what_was_found(tmp_path: Path) -> None:
    """It runs as Python, declares what was inspected, and gives inputs of any batch and size."""
    example = floats(4, 20, 4)
    module = Stranger(lambda layer, x: layer(x)).eval()
    opened = Opened(module, example, "return module", {"net": tmp_path / "net.py"}, notes=("it has a note",))
    inspected = inspect(opened, lambda line: None)
    text = declaration.render(WISH, opened, inspected)
    assert "- it has a note." in text
    with declared(text, "stranger", example) as model:
        assert model.inputs == inspected.inputs
        assert model.outputs == inspected.outputs
        sizes = {axis.name: 7 for axis in axes_of(model)}
        drawn = model.examples({}, 9, sizes)
        again = model.examples({}, 3, sizes)
    assert drawn["x"].shape == (9, 7, 4)
    assert len({row.tobytes() for row in drawn["x"]}) == 9
    assert (drawn["x"][:3] == again["x"]).all()


def test_real_inputs_are_shared_out(tmp_path: Path) -> None:
    """Of a user's own example every second item is kept for calibration, which no verification sees."""
    example = copy.deepcopy(floats(8, 4))
    opened = Opened(
        Stranger(lambda layer, x: layer(x)).eval(),
        example,
        "return module",
        {"example": tmp_path / "stranger.npz"},
        example_asset="example",
    )
    text = declaration.render(WISH, opened, inspect(opened, lambda line: None))
    with declared(text, "stranger", example) as model:
        files = {"example": Path(model.load.__code__.co_filename).with_suffix(".npz")}
        assert model.calibration is not None
        seen, judged = model.calibration(files, 4, {})["x"], model.examples(files, 4, {})["x"]
    assert (judged == example["x"][::2]).all()
    assert (seen == example["x"][1::2]).all()


@pytest.mark.parametrize("items", [1, 7])
def test_few_real_inputs_are_all_examples(items: int, tmp_path: Path) -> None:
    """With fewer than eight items there are none to spare: int8 then says that calibration data is missing."""
    opened = Opened(
        Stranger(lambda layer, x: layer(x)).eval(),
        floats(items, 4),
        "return module",
        {"example": tmp_path / "e.npz"},
        example_asset="example",
    )
    assert not declaration.calibrates(opened)
