"""One config, linted by one rule: what the tests of rules share."""

from __future__ import annotations

from pathlib import Path

from modelyard_build.repository.lint.rules import BY_CODE
from modelyard_build.repository.lint.run import check
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Model, Repository
from modelyard_build.repository.text_format.splice import splice

TENSORS = """\
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }
"""


def write(folder: Path, text: str, name: str = "m") -> Model:
    """Writes a model's config.pbtxt into a repository and returns the model, held against no settings."""
    path = folder / name / "config.pbtxt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Repository(folder, Settings()).models[name]


def messages(folder: Path, code: str, text: str, settings: Settings | None = None) -> list[str]:
    """What one rule says of one config, each message after its line."""
    write(folder, text)
    config = Repository(folder, settings or Settings()).models["m"].config
    assert config is not None
    assert config.is_valid, config.bound.problems
    return [f"{finding.line} {finding.message}" for finding in check(config, [BY_CODE[code]])]


def mended(folder: Path, code: str, text: str) -> str:
    """The config's text once the rule's own edits are made."""
    config = write(folder, text).config
    assert config is not None
    edits = {edit for finding in check(config, [BY_CODE[code]]) for edit in finding.fix}
    return splice(text, edits)
