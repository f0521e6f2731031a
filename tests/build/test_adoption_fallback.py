"""The declaration of a module that cannot be exported: written from what was found, and read again."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from modelyard_build.adoption import fallback
from modelyard_build.adoption.inspection import inspect
from modelyard_build.adoption.origin import Draw, Limit, Wish
from modelyard_build.adoption.origins import python_file
from modelyard_build.assets import fetch
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import PythonModel
from support import greedy_decoder


def wish(folder: Path) -> Wish:
    """What a user says of the decoder."""
    return Wish(
        name="decoder",
        origin=f"{folder / 'greedy_decoder.py'}:GreedyDecoder",
        weights=folder / "decoder.pt",
        inputs={"tokens": ("INT64", ("sequence",)), "temperature": ("FP32", (1,))},
        draws={"tokens": Draw(1, greedy_decoder.PRINTED)},
        limits={"sequence": Limit("sequence", 1, 32)},
    )


def read(path: Path) -> Any:
    """The declaration, as Python imports it."""
    specification = importlib.util.spec_from_file_location("declared_decoder", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_declaration_publishes_the_users_files_and_their_state(tmp_path: Path) -> None:
    """It reads as one of an export, ends in the step, and gives what `modelyard build` needs."""
    wanted = wish(greedy_decoder.write(tmp_path / "user"))
    opened = python_file.ORIGIN.open(wanted)
    inspected = inspect(opened, lambda line: None)
    path = tmp_path / "decoder.py"
    path.write_text(fallback.render(wanted, opened, inspected))
    np.savez(path.with_suffix(".npz"), **inspected.example)
    (model,) = read(path).MODELS
    assert isinstance(model, PythonModel)
    assert set(model.files) == {"source/greedy_decoder.py", "source/vocabulary.py"}
    files = fetch(model.assets, print)
    assert model.write is not None
    model.write(files, tmp_path)
    description = json.loads((tmp_path / "module.json").read_text())
    assert description["module"] == "greedy_decoder:GreedyDecoder"
    assert {entry["name"]: entry["dims"] for entry in description["inputs"]} == {
        "tokens": [[1, 32]],
        "temperature": [1],
    }
    assert {entry["place"] for entry in description["outputs"]} == {"words", "score", "state"}
    # The state of the user's own module, not of what is wrapped around it.
    assert "embedding.weight" in load_file(tmp_path / "weights.safetensors")
    answers = model.reference(files, model.examples(files, 3))
    assert answers["words"].shape == (3, greedy_decoder.LONGEST)
    assert answers["score"].shape == (3, 1)


def test_what_is_no_python_file_cannot_be_served_as_it_is(tmp_path: Path) -> None:
    """There would be nothing to publish that makes the module; the message says what to write."""
    wanted = wish(greedy_decoder.write(tmp_path / "user"))
    opened = python_file.ORIGIN.open(wanted)
    inspected = inspect(opened, lambda line: None)
    with pytest.raises(AdoptionFailed, match=r"some/folder cannot be exported; .*--from net\.py:Net"):
        fallback.render(replace(wanted, origin="some/folder"), opened, inspected)
