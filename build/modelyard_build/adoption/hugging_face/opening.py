"""A folder of a transformers model, opened: the model loaded and tried, and the code that loads it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import PreTrainedModel

from modelyard_build.adoption.hugging_face.configs import read_config
from modelyard_build.adoption.hugging_face.files import CONFIG, Files, hints_of, weights_of
from modelyard_build.adoption.hugging_face.inputs import LONGEST_SEQUENCE, Input, inputs_of
from modelyard_build.adoption.hugging_face.loading import Loaded, load
from modelyard_build.adoption.hugging_face.outputs import labels_of, outputs_of
from modelyard_build.adoption.hugging_face.said import with_said
from modelyard_build.adoption.hugging_face.sentence_encoder import load_dense
from modelyard_build.adoption.hugging_face.sentences import Layout, has_layout, layout_of
from modelyard_build.adoption.origin import AsItIs, Opened, Wish
from modelyard_build.errors import AdoptionFailed
from modelyard_build.steps.hugging_face_module import SentenceEncoder, Served

# What `--class` may name besides the classes of transformers.
SENTENCES = "SentenceEncoder"
EXAMPLE = "example"
_SENTENCE_INPUTS = ("input_ids", "attention_mask")
_LOAD_MODEL = "from modelyard_build.adoption.hugging_face.loading import load_model"
_MODULE = "modelyard_build.steps.hugging_face_module"
_AS_IT_IS = AsItIs("from modelyard_build.adoption.hugging_face import serving", "serving.as_it_is")
# What protobuf holds in one message.
_LARGE = 2**31
_MOST_NAMED = 3


def open_files(files: Files, wish: Wish) -> Opened:
    """Loads a model and tries it.

    Args:
        files: of the model.
        wish: what the user said.

    Raises:
        AdoptionFailed: there are no weights, they do not fit, or it is a model that a graph cannot serve.
    """
    sentences = wish.architecture == SENTENCES or (not wish.architecture and has_layout(files))
    opened = _open_sentences(files, wish) if sentences else _open_plain(files, wish)
    if not wish.example:
        return opened
    assets = {**opened.assets, EXAMPLE: wish.example.absolute()}
    return replace(opened, assets=assets, example_asset=EXAMPLE)


def _open_plain(files: Files, wish: Wish) -> Opened:
    source = _Source.of(files, "", wish.architecture or _architecture(files))
    inputs = with_said(wish, inputs_of(source.model, hints_of(files)))
    outputs = outputs_of(source.model, inputs)
    code = f"""\
{_LOAD_MODEL}
from {_MODULE} import Served

model = {source.code}
return Served(model, {_tuple(outputs)}).eval()
"""
    labels = labels_of(source.model.config, outputs)
    return _opened(source, Served(source.model, tuple(outputs)), inputs, code, source.assets, labels)


def _open_sentences(files: Files, wish: Wish) -> Opened:
    layout = layout_of(files)
    source = _Source.of(files, layout.folder, _base_architecture(files, layout.folder))
    known = [one for one in inputs_of(source.model, hints_of(files)) if one.name in _SENTENCE_INPUTS]
    inputs = with_said(wish, known)
    if sorted(one.name for one in inputs) != sorted(_SENTENCE_INPUTS):
        raise AdoptionFailed(
            f"a sentence encoder takes {' and '.join(_SENTENCE_INPUTS)}; got {', '.join(one.name for one in inputs)}. "
            "Name the inputs so, or take the encoder alone: --class AutoModel."
        )
    dense = [load_dense(files.paths[member], activation) for member, activation in layout.dense]
    module = SentenceEncoder(source.model, layout.pooling, dense, normalise=layout.normalise)
    assets = {**source.assets, **{f"dense_{at}": member for at, (member, _) in enumerate(layout.dense, 1)}}
    return _opened(source, module, inputs, _sentence_code(source, layout), assets)


def _sentence_code(source: _Source, layout: Layout) -> str:
    dense = "from modelyard_build.adoption.hugging_face.sentence_encoder import load_dense\n" if layout.dense else ""
    layers = [f'load_dense(files["dense_{at}"], "{activation}")' for at, (_, activation) in enumerate(layout.dense, 1)]
    more = f", [{', '.join(layers)}]" if layers else ""
    return f"""\
{_LOAD_MODEL}
{dense}from {_MODULE} import SentenceEncoder

model = {source.code}
return SentenceEncoder(model, {_tuple(layout.pooling)}{more}, normalise={layout.normalise}).eval()
"""


def _tuple(names: Mapping[str, object] | tuple[str, ...]) -> str:
    """A tuple as the formatter writes it."""
    return "(" + ", ".join(f'"{name}"' for name in names) + ("," if len(names) == 1 else "") + ")"


@dataclass(frozen=True)
class _Source:
    """A loaded model and where it came from.

    Attributes:
        files: all of them.
        assets: those that are loaded, by the name under which `load` gets them.
        loaded: the model.
        code: the expression that loads it, over `files`.
    """

    files: Files
    assets: Mapping[str, str]
    loaded: Loaded
    code: str

    @property
    def model(self) -> PreTrainedModel:
        """The model itself."""
        return self.loaded.model

    @classmethod
    def of(cls, files: Files, folder: str, architecture: str) -> _Source:
        """Loads the model of a class from one of an origin's folders ("": the first)."""
        weights = weights_of(files, folder)
        numbered = ["weights"] if len(weights) == 1 else [f"weights_{number}" for number, _ in enumerate(weights, 1)]
        assets = {"config": folder + CONFIG, **dict(zip(numbered, weights, strict=True))}
        loaded = load(architecture, *(files.path(member) for member in assets.values()))
        arguments = ", ".join(f'files["{name}"]' for name in assets)
        return cls(files, assets, loaded, f'load_model("{type(loaded.model).__name__}", {arguments})')


def _architecture(files: Files) -> str:
    """The class that the config names."""
    path = files.path(CONFIG)
    named = [str(name) for name in read_config(path).architectures or ()]
    if not named:
        raise AdoptionFailed(
            f"{path} names no class in `architectures`. Name one with --class, such as AutoModel or "
            "AutoModelForSequenceClassification."
        )
    return named[0]


def _base_architecture(files: Files, folder: str) -> str:
    """The class without a head: the config's own where it is one, as T5EncoderModel."""
    named = read_config(files.path(folder + CONFIG)).architectures or ()
    return next((str(name) for name in named if str(name).endswith("Model")), "AutoModel")


def _opened(
    source: _Source,
    module: nn.Module,
    inputs: list[Input],
    code: str,
    assets: Mapping[str, str],
    labels: Mapping[str, tuple[str, ...]] | None = None,
) -> Opened:
    files = source.files
    return Opened(
        module=module.eval(),
        example={one.name: one.example for one in inputs},
        load=code,
        assets={name: files.paths[member] for name, member in assets.items()},
        draws={one.name: one.draw for one in inputs if one.draw},
        limits={one.name: one.limits for one in inputs},
        summary=_summary(source),
        as_it_is=_AS_IT_IS,
        notes=(*_notes(source), *_pairing(source, inputs)),
        labels=labels or {},
        pinned={name: files.pinned[member] for name, member in assets.items() if member in files.pinned},
    )


def _summary(source: _Source) -> str:
    count = sum(parameter.numel() for parameter in source.model.parameters())
    size = f"{count / 1e6:.1f} M" if count >= 100_000 else f"{count:,}"
    return f"{type(source.model).__name__} of {source.files.name}, {size} parameters"


def _notes(source: _Source) -> list[str]:
    """What a person is to know before the model is served."""
    notes = []
    if unused := source.loaded.unused:
        more = f" and {len(unused) - _MOST_NAMED} more" if len(unused) > _MOST_NAMED else ""
        notes.append(f"the class has no place for {', '.join(unused[:_MOST_NAMED])}{more}, which are left out")
    if stored := source.loaded.stored - {torch.float32}:
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in stored))
        notes.append(f"the weights are stored as {names} and served as FP32; other precisions: --targets")
    bytes_ = sum(parameter.numel() * 4 for parameter in source.model.parameters())
    longest = getattr(source.model.config.get_text_config(), "max_position_embeddings", None) or 0
    if source.model.main_input_name == "input_ids" and longest > LONGEST_SEQUENCE + 2:
        notes.append(
            f"it reads {longest} tokens and is tried with {LONGEST_SEQUENCE}: a larger max of the axis is yours"
        )
    if bytes_ > _LARGE:
        notes.append(
            f"the weights are {bytes_ / 1e9:.1f} GB in float32: they stand in a file beside model.onnx, and the build "
            "takes a multiple of that in memory"
        )
    return notes


def _pairing(source: _Source, inputs: list[Input]) -> list[str]:
    """A model of two towers embeds each side alone, but takes a batch of pairs."""
    if len({one.name for one in inputs} - {"attention_mask"}) < 2 or not hasattr(source.model, "get_text_features"):
        return []
    return [
        "an item is a text and what stands beside it, each embedded for itself; one side alone is another class "
        "(CLIP's: --class CLIPTextModelWithProjection, CLIPVisionModelWithProjection)"
    ]
