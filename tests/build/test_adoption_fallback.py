"""The declaration of a module that cannot be exported: written from what was found, and read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from modelyard_build.adoption import adopting
from modelyard_build.adoption.hugging_face import serving
from modelyard_build.adoption.inspection import inspect
from modelyard_build.adoption.origin import Draw, Limit, Wish
from modelyard_build.adoption.origins import python_file
from modelyard_build.adoption.trial import Trial
from modelyard_build.assets import fetch
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Axis, PythonModel
from modelyard_build.steps import hugging_face_module
from modelyard_build.steps.hugging_face_module import SentenceEncoder, dense
from support import greedy_decoder, hugging_face, longformer
from support.adoption import declared_as_it_is


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


def test_the_declaration_publishes_the_users_files_and_their_state(tmp_path: Path) -> None:
    """It reads as one of an export, ends in the step, and gives what `modelyard build` needs."""
    wanted = wish(greedy_decoder.write(tmp_path / "user"))
    opened = python_file.ORIGIN.open(wanted)
    with declared_as_it_is(wanted, opened) as model:
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


def test_what_can_be_served_in_no_way_is_refused(tmp_path: Path) -> None:
    """With the reason for which it could not be exported."""
    wanted = wish(greedy_decoder.write(tmp_path / "user"))
    opened = python_file.ORIGIN.open(wanted)
    tried = Trial(inspect(opened, print), "the loop ends where the data says so")
    assert "STEP" in adopting.text_of(wanted, opened, tried)
    with pytest.raises(AdoptionFailed, match="the loop ends where the data says so"):
        adopting.text_of(wanted, replace(opened, as_it_is=None), tried)


def test_a_model_of_transformers_is_made_again_of_its_settings(tmp_path: Path) -> None:
    """The step's own file makes the class with all its settings; the weights fit it, and it answers as transformers."""
    with longformer.declare(tmp_path) as model:
        assert set(model.files) == {"source/hugging_face_module.py"}
        ((axis,),) = {tensor.dims for tensor in model.inputs}
        # PyTorch takes what a trace would have fixed at one size.
        assert isinstance(axis, Axis)
        assert (axis.min, axis.max) == (1, 80)
        inputs = longformer.tokens(3, 21)
    made = made_again(model, tmp_path)
    with torch.inference_mode():
        answer = made(**{name: torch.from_numpy(array) for name, array in inputs.items()})["logits"].numpy()
    np.testing.assert_allclose(answer, longformer.logits(tmp_path, inputs), atol=1e-6)


def test_a_sentence_encoder_is_made_again_with_its_layers(tmp_path: Path) -> None:
    """Pooling, a dense layer and unit length; the encoder has no pooler where the folder has none."""
    bert = hugging_face.random_model("bert")
    encoder = type(bert)(bert.config, add_pooling_layer=False)
    layers = [dense(96, 48, "GELU", bias=False), dense(48, 16, "Tanh", bias=True)]
    own = SentenceEncoder(encoder, ["cls", "mean"], layers, normalise=True).eval()
    arguments = json.loads(json.dumps(serving.arguments_of(own)))
    made = hugging_face_module.make(**arguments).eval()
    made.load_state_dict(own.state_dict())
    inputs = {"input_ids": torch.arange(3, 13)[None], "attention_mask": torch.ones(1, 10, dtype=torch.int64)}
    with torch.inference_mode():
        found, expected = made(**inputs)["embedding"], own(**inputs)["embedding"]
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)


def made_again(model: PythonModel, folder: Path) -> nn.Module:
    """Out of what a version holds."""
    assert model.write is not None
    model.write(fetch(model.assets, print), folder)
    description = json.loads((folder / "module.json").read_text())
    assert description["module"] == "hugging_face_module:make"
    made = hugging_face_module.make(**description["arguments"]).eval()
    made.load_state_dict(load_file(folder / "weights.safetensors"))
    return made
