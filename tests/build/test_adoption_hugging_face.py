"""Folders of transformers models: what is found in them, and what is refused in words."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from modelyard_build.adoption.hugging_face.loading import load_model
from modelyard_build.adoption.inspection import inspect
from modelyard_build.adoption.origin import Draw, Limit, Opened, Wish
from modelyard_build.adoption.origins import hugging_face as origin
from modelyard_build.adoption.trial import attempt
from modelyard_build.assets import fetch
from modelyard_build.errors import AdoptionFailed
from modelyard_build.nets import minilm, minilm_assets
from support import hugging_face
from support.hugging_face import save


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder of an architecture, saved once."""
    root = tmp_path_factory.mktemp("hugging_face")

    def folder(name: str) -> Path:
        if not (root / name).exists():
            save(name, root / name)
        return root / name

    return folder


@pytest.fixture
def own(saved: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a folder that a test may damage."""

    def folder(name: str) -> Path:
        return shutil.copytree(saved(name), tmp_path / name)

    return folder


def opened(folder: Path, architecture: str = "") -> Opened:
    return origin.open_model(Wish("model", str(folder), architecture=architecture))


def refused(folder: Path, architecture: str = "") -> str:
    with pytest.raises(AdoptionFailed) as caught:
        opened(folder, architecture)
    return str(caught.value)


def change(folder: Path, name: str = "config.json", **settings: Any) -> None:
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **settings}))


@pytest.mark.parametrize(
    ("name", "inputs", "axes", "outputs"),
    [
        ("bert", ["input_ids", "attention_mask", "token_type_ids"], {"sequence": (1, 66)}, "last_hidden_state"),
        ("vit", ["pixel_values"], {}, "logits"),
        # Its convolutions take as long to explore as all others together.
        pytest.param(
            "wav2vec2",
            ["input_values"],
            {"samples": (220, 4000)},
            "last_hidden_state",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_text_images_and_sound_become_graphs(
    tmp_path: Path, name: str, inputs: list[str], axes: dict[str, tuple[int, int]], outputs: str
) -> None:
    """Inputs, axes and outputs are found, and the exported graph answers as PyTorch does at all sizes."""
    save(name, tmp_path, num_hidden_layers=1)
    found = opened(tmp_path)
    tried = attempt(Wish("model", str(tmp_path)), found, inspect(found, print), print)
    assert not tried.refused
    assert [tensor.name for tensor in tried.inspected.inputs] == inputs
    assert {axis.name: (axis.min, axis.max) for axis in tried.inspected.axes} == axes
    assert tried.inspected.outputs[0].name == outputs


def test_what_is_loaded_is_what_is_in_the_folder(saved: Callable[[str], Path]) -> None:
    """The declared code gives the model of the folder, bit for bit, and reads no file that is not an asset."""
    found = opened(saved("bert"))
    assert {path.name for path in found.assets.values()} == {"config.json", "model.safetensors"}
    assert 'load_model("BertModel", files["config"], files["weights"])' in found.load
    stored = load_file(found.assets["weights"])
    loaded = load_model("BertModel", found.assets["config"], found.assets["weights"]).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in stored.items())


def test_limits_and_draws_come_from_the_config(saved: Callable[[str], Path]) -> None:
    """Tokens are drawn out of the vocabulary; a table of positions that begins after its padding row is shorter."""
    found = opened(saved("roberta"))
    assert found.draws == {"input_ids": Draw(0, 300), "attention_mask": Draw(ones=True)}
    assert found.limits["input_ids"] == {1: Limit("sequence", 1, 64)}


def test_a_tokenizer_may_allow_less_than_the_model(own: Callable[[str], Path]) -> None:
    """The shortest of what config and tokenizer allow is served."""
    folder = own("bert")
    change(folder, "tokenizer_config.json", model_max_length=24)
    assert opened(folder).limits["input_ids"] == {1: Limit("sequence", 1, 24)}


def test_classes_of_a_classifier_become_labels(saved: Callable[[str], Path]) -> None:
    """The config's own names are labels; LABEL_0 and its like are none."""
    assert opened(saved("roberta")).labels == {"logits": ("good", "bad", "neither")}
    assert opened(saved("vit")).labels == {}


def test_images_have_the_size_of_the_preprocessor(saved: Callable[[str], Path]) -> None:
    """A network of convolutions takes the size that its preprocessor crops to; a fixed one in the declaration."""
    found = opened(saved("resnet"))
    assert found.example["pixel_values"].shape[1:] == (3, 64, 64)
    assert all(limit.min == limit.max for limit in found.limits["pixel_values"].values())


def test_scores_between_the_items_of_a_batch_are_left_out(saved: Callable[[str], Path]) -> None:
    """CLIP's two embeddings belong to an item; its logits are of every text with every image."""
    found = opened(saved("clip"))
    assert 'Served(model, ("text_embeds", "image_embeds"))' in found.load
    assert any("CLIPTextModelWithProjection" in note for note in found.notes)


def test_one_tower_of_two_can_be_named(saved: Callable[[str], Path]) -> None:
    """`--class` loads the part of a checkpoint that the class has, and says what is left out."""
    found = opened(saved("clip"), "CLIPVisionModelWithProjection")
    assert list(found.example) == ["pixel_values"]
    assert any("left out" in note for note in found.notes)


def test_a_pooler_that_was_never_saved_is_left_away(own: Callable[[str], Path]) -> None:
    """A checkpoint of a masked language model has no pooler; random numbers in its place would be served as answers."""
    folder = own("bert")
    tensors = {name: one for name, one in load_file(folder / "model.safetensors").items() if "pooler" not in name}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert 'Served(model, ("last_hidden_state",))' in opened(folder).load


def test_weights_in_parts_are_put_together(own: Callable[[str], Path]) -> None:
    """An index lists the parts; each is an asset."""
    folder = own("bert")
    model = hugging_face.random_model("bert")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    found = opened(folder)
    assert len(found.assets) > 2
    assert set(found.assets) == {"config", *(f"weights_{number}" for number in range(1, len(found.assets)))}


def test_a_missing_part_is_named(own: Callable[[str], Path]) -> None:
    """A folder that was fetched in part says which part."""
    folder = own("bert")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00001-of-00002.safetensors" in refused(folder)


def test_a_pickle_with_tensors_alone_is_read(own: Callable[[str], Path]) -> None:
    """pytorch_model.bin serves as well, through weights_only."""
    folder = own("bert")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert opened(folder).assets["weights"].name == "pytorch_model.bin"


class Trap:
    """Runs when it is unpickled by anyone careless."""

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        """What pickle calls."""
        return print, ("run",)


def test_a_pickle_that_runs_code_is_refused(own: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in it runs, and the message says how to save it safely."""
    folder = own("bert")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Trap()}, protocol=2))
    assert "safetensors.torch.save_file" in refused(folder)
    assert "run" not in capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"auto_map": {"AutoModel": "modeling_mine.MyModel"}}, "Nothing is run that came with weights"),
        ({"model_type": "mine"}, "does not know"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantised (gptq)"),
        ({"num_hidden_layers": 3}, "the weights lack 16 tensors"),
        ({"num_hidden_layers": 1}, "hold 16 tensors for which"),
        ({"intermediate_size": 128}, "is [96], expected [128]"),
        ({"architectures": None}, "names no class in `architectures`"),
        ({"architectures": ["MyModel"]}, "has no model 'MyModel'"),
        ({"hidden_size": 50}, "cannot make a BertModel of its config"),
    ],
)
def test_a_config_that_does_not_go_with_the_weights(
    own: Callable[[str], Path], settings: dict[str, Any], said: str
) -> None:
    """Each says what it found; transformers itself would fill in random numbers, run code or raise from its depths."""
    folder = own("bert")
    change(folder, **settings)
    assert said in refused(folder)


def test_a_head_that_is_not_in_the_weights_is_not_invented(saved: Callable[[str], Path]) -> None:
    """A classifier over a base model's weights would answer by chance."""
    message = refused(saved("bert"), "AutoModelForSequenceClassification")
    assert "classifier.weight" in message
    assert "--class AutoModel" in message


def test_a_class_that_the_model_has_not(saved: Callable[[str], Path]) -> None:
    """An Auto class for another task names the model type and the class that the config has."""
    message = refused(saved("vit"), "AutoModelForCausalLM")
    assert "no AutoModelForCausalLM for the model_type 'vit'" in message
    assert "ViTForImageClassification" in message


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "no whole safetensors file"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"),
        (lambda path: path.rename(path.with_name("model.h5")), "read by other libraries"),
        (lambda path: path.unlink(), "has no weights"),
    ],
)
def test_weights_that_are_none(own: Callable[[str], Path], damage: Callable[[Path], Any], said: str) -> None:
    """A file that was cut off, never fetched or is another library's is named."""
    folder = own("bert")
    damage(folder / "model.safetensors")
    assert said in refused(folder)


def test_the_users_own_example_is_taken(saved: Callable[[str], Path], tmp_path: Path) -> None:
    """Real inputs replace drawn ones, also for a model that can be given fewer than its config tells."""
    tokens = np.arange(60, dtype=np.int64).reshape(10, 6)
    np.savez(tmp_path / "real.npz", input_ids=tokens, attention_mask=np.ones_like(tokens))
    found = origin.open_model(Wish("model", str(saved("bert")), example=tmp_path / "real.npz"))
    assert found.example_asset == "example"
    assert found.assets["example"] == tmp_path / "real.npz"
    np.testing.assert_array_equal(found.example["input_ids"], tokens)
    assert list(found.example) == ["input_ids", "attention_mask"]


def test_named_inputs_are_taken(saved: Callable[[str], Path]) -> None:
    """`--input` says which inputs there are, of which sizes; what values they take is still known."""
    limits = {"sequence": Limit("sequence", 4, 20)}
    found = origin.open_model(
        Wish("model", str(saved("bert")), inputs={"input_ids": ("INT64", ("sequence",))}, limits=limits)
    )
    assert found.limits == {"input_ids": {1: Limit("sequence", 4, 20)}}
    assert found.draws == {"input_ids": Draw(0, 300)}


def test_weights_beside_a_folder_are_refused(saved: Callable[[str], Path], tmp_path: Path) -> None:
    """Nobody is left to believe that other weights were loaded."""
    with pytest.raises(AdoptionFailed, match="a folder brings its own weights"):
        origin.open_model(Wish("model", str(saved("bert")), weights=tmp_path / "other.safetensors"))


def test_half_precision_is_served_in_float32(own: Callable[[str], Path]) -> None:
    """Other precisions are made of float32 by the build; the declaration says what was stored."""
    folder = own("bert")
    tensors = {name: one.to(torch.bfloat16) for name, one in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    found = opened(folder)
    assert {parameter.dtype for parameter in found.module.parameters()} == {torch.float32}
    assert any("bfloat16" in note for note in found.notes)


def sentence_folder(folder: Path, pooling: dict[str, Any], *kinds: str) -> Path:
    """Adds the files with which the sentence-transformers library describes what follows an encoder."""
    paths = ["", "1_Pooling", *(f"{number}_{kind}" for number, kind in enumerate(kinds, 2))]
    names = ["Transformer", "Pooling", *kinds]
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(zip(paths, names, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 48, **pooling}))
    return folder


def hand_made(folder: Path, inputs: dict[str, torch.Tensor], how: str) -> torch.Tensor:
    """Pooling row by row, over the tokens that are there."""
    with torch.inference_mode():
        states = hugging_face.random_model("bert")(**inputs).last_hidden_state
    rows = [state[mask.bool()] for state, mask in zip(states, inputs["attention_mask"], strict=True)]
    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "cls": lambda row: row[0],
        "mean": lambda row: row.mean(0),
        "max": lambda row: row.max(0).values,
        "lasttoken": lambda row: row[-1],
        "mean_sqrt_len_tokens": lambda row: row.sum(0) / len(row) ** 0.5,
    }
    return torch.stack([ways[how](row) for row in rows])


@pytest.mark.parametrize(
    ("config", "how"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len_tokens"),
        ({"pooling_mode": "mean"}, "mean"),
    ],
)
def test_sentence_encoder_pools_as_its_files_say(own: Callable[[str], Path], config: dict[str, Any], how: str) -> None:
    """The embedding is the pooled states at unit length; padding has no part in it."""
    folder = sentence_folder(own("bert"), config, "Normalize")
    found = opened(folder)
    assert list(found.example) == ["input_ids", "attention_mask"]
    inputs = {name: torch.from_numpy(array) for name, array in found.example.items()}
    with torch.inference_mode():
        embedding = found.module(**inputs)["embedding"]
    expected = torch.nn.functional.normalize(hand_made(folder, inputs, how), dim=-1)
    np.testing.assert_allclose(embedding.numpy(), expected.numpy(), atol=1e-5)
    assert f'SentenceEncoder(model, ("{how}",), normalise=True)' in found.load


def test_a_published_sentence_encoder_is_the_one_that_is_built_here(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2 as a folder gives the embeddings of the encoder of `text_embedder`, pooler left aside."""
    files = fetch(minilm_assets.ENCODER_ASSETS, print)
    for name, target in (("config", "config.json"), ("weights", "model.safetensors")):
        (tmp_path / target).symlink_to(files[name])
    found = opened(sentence_folder(tmp_path, {"pooling_mode_mean_tokens": True}, "Normalize"))
    inputs = {name: torch.from_numpy(array[:, :40]) for name, array in found.example.items()}
    with torch.inference_mode():
        expected = minilm.SentenceEncoder(minilm.load_bert(files)).eval()(**inputs)
        embedding = found.module(**inputs)["embedding"]
    np.testing.assert_allclose(embedding.numpy(), expected.numpy(), atol=1e-6)


def test_sentence_encoder_with_a_dense_layer(own: Callable[[str], Path]) -> None:
    """A linear layer between pooling and the embedding is part of it; without Normalize the length stays."""
    folder = sentence_folder(own("bert"), {"pooling_mode_mean_tokens": True}, "Dense")
    dense = folder / "2_Dense"
    dense.mkdir()
    (dense / "config.json").write_text(json.dumps({"activation_function": "torch.nn.modules.activation.Tanh"}))
    weight, bias = torch.randn(16, 48), torch.randn(16)
    save_file({"linear.weight": weight, "linear.bias": bias}, dense / "model.safetensors")
    found = opened(folder)
    inputs = {name: torch.from_numpy(array) for name, array in found.example.items()}
    with torch.inference_mode():
        embedding = found.module(**inputs)["embedding"]
    expected = torch.tanh(hand_made(folder, inputs, "mean") @ weight.T + bias)
    np.testing.assert_allclose(embedding.numpy(), expected.numpy(), atol=1e-5)
    assert found.assets["dense_1"] == dense / "model.safetensors"


def test_the_bare_encoder_of_a_sentence_folder(own: Callable[[str], Path]) -> None:
    """`--class` wins over the folder's layout."""
    folder = sentence_folder(own("bert"), {"pooling_mode_mean_tokens": True}, "Normalize")
    assert "last_hidden_state" in opened(folder, "AutoModel").load


@pytest.mark.parametrize(
    ("pooling", "kinds", "said"),
    [
        ({"pooling_mode_mine": True}, ["Normalize"], "asks for pooling mine"),
        ({}, ["Normalize"], "of no kind"),
        ({"pooling_mode_mean_tokens": True}, ["LSTM"], "lists Transformer, Pooling, LSTM"),
        ({"pooling_mode_mean_tokens": True}, ["Normalize", "Dense"], "lists Normalize before Dense"),
    ],
)
def test_a_layout_that_is_not_known(
    own: Callable[[str], Path], pooling: dict[str, Any], kinds: list[str], said: str
) -> None:
    """What is not understood is not left out: the vector would be another."""
    assert said in refused(sentence_folder(own("bert"), pooling, *kinds))


def test_a_folder_without_pooling_is_no_sentence_encoder(saved: Callable[[str], Path]) -> None:
    """How states become a vector is never guessed."""
    assert re.search(r"neither modules\.json nor 1_Pooling/config\.json", refused(saved("bert"), "SentenceEncoder"))


@pytest.mark.parametrize(
    ("text", "known"),
    [("intfloat/e5-small-v2", True), ("intfloat/e5-small-v2@main", True), ("net.py:Net", False), ("model.onnx", False)],
)
def test_names_on_the_hub_are_known_by_their_form(text: str, known: bool) -> None:
    """What is no path here and has an owner and a name may be a model on the hub."""
    assert origin.knows(Wish("model", text)) is known
