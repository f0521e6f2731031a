"""Sources: a model is rebuilt for what it depends on, and for nothing else."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from modelyard_build.assets import PinnedAsset
from modelyard_build.errors import UnknownModel
from modelyard_build.models import all_models, declared_in, find, systems
from modelyard_build.sources import _imports, build_key, sources


def files_of(name: str) -> set[str]:
    model = find(name)
    return set(sources(model, declared_in(model)))


def test_an_encoder_depends_on_its_net_and_the_exporter() -> None:
    """Net, weights' pins, examples, kept head and the code that writes the graph are all in."""
    assert files_of("ticket_classifier_encoder") >= {
        "models/ticket_classifier.py",
        "nets/ticket_classifier.py",
        "nets/ticket_classifier.safetensors",
        "nets/minilm.py",
        "nets/minilm_assets.py",
        "export.py",
    }


def test_a_system_does_not_depend_on_the_other() -> None:
    """Touching one system's files leaves the other's versions alone."""
    assert not any("ticket_classifier" in path for path in files_of("text_embedder_encoder"))
    assert not any("text_embedder" in path for path in files_of("ticket_classifier_encoder"))


def test_a_tokenizer_does_not_depend_on_the_net_beside_it() -> None:
    """Declared in one file with its encoder, it follows its own functions only."""
    assert "nets/ticket_classifier.py" not in files_of("ticket_classifier_tokenizer")
    assert "steps/tokenizer.py" in files_of("ticket_classifier_tokenizer")


def test_what_only_a_type_checker_reads_decides_nothing() -> None:
    """An import under TYPE_CHECKING brings nothing in; the one of its else does."""
    source = """
from typing import TYPE_CHECKING
from modelyard_build import rounding
if TYPE_CHECKING:
    from modelyard_build import verify
else:
    from modelyard_build import export
"""
    assert _imports(ast.parse(source).body) == ["rounding", "export"]


def test_the_key_follows_every_input() -> None:
    """A source, a step, an asset: each alone changes the key."""
    model = find("text_embedder_encoder")
    files = sources(model, declared_in(model))
    key = build_key(model, files, {})
    assert build_key(model, files, {}) == key
    assert build_key(model, {**files, "export.py": "0" * 64}, {}) != key
    assert build_key(model, files, {"step": "0"}) != key
    repinned = {
        name: replace(asset, sha256="0" * 64) for name, asset in model.assets.items() if isinstance(asset, PinnedAsset)
    }
    assert build_key(replace(model, assets=repinned), files, {}) != key


def test_what_is_proven_together_is_built_together() -> None:
    """A step brings its ensemble, an ensemble its steps, in the order in which they are needed."""
    names = ["text_embedder_tokenizer", "text_embedder_encoder", "text_embedder"]
    assert [model.name for model in systems(["text_embedder_encoder"])] == names
    assert [model.name for model in systems(["text_embedder"])] == names
    assert systems([]) == list(all_models())


def test_an_unknown_name_gets_a_suggestion() -> None:
    """A typing error is met with the name that was meant."""
    with pytest.raises(UnknownModel, match="Did you mean text_embedder"):
        systems(["text_embeder"])
    with pytest.raises(UnknownModel, match="There are: text_embedder_tokenizer"):
        systems(["zzz"])
