"""A rule's pair of examples: a repository that breaks it and one that does not, each in one text file.

The file begins with what is expected, then come the files, each after a line `--- PATH`:

    server: refuses
    expect: m/config.pbtxt:2
    --- m/config.pbtxt
    backend: "python"
    name: "other"
    --- m/1/model.py

`server:` is `refuses`, `refuses: WORDS` with what its reason must hold (or what it says as it hangs or ends), `loads`,
or `unseen: REASON`, of the model `m` or of the one that `model:` names. `expect:` is a
file with a line, or a file or folder alone; there may be several. `release:`, `hardware:` and `server-arguments:` set
what the repository is held against; `repositories:` names the folders of several.
`--- m/1/model.onnx: onnx x FP32 [-1,4] -> y FP32 [-1,4]` makes a file by a recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from modelyard_build.repository.lint.rule import Rule

FOLDER = Path(__file__).with_name("examples")
_SEPARATOR = "--- "


@dataclass(frozen=True)
class ExampleFile:
    """One file of an example.

    Attributes:
        path: relative to the folder that holds the repository.
        recipe: how it is made, where it is not text.
        text: its content otherwise.
    """

    path: str
    recipe: str
    text: str


@dataclass(frozen=True)
class Example:
    """A small repository.

    Attributes:
        settings: the lines before the files, by the word before the colon; "expect" may have several.
        files: in the order of the text.
    """

    settings: dict[str, list[str]] = field(default_factory=dict)
    files: tuple[ExampleFile, ...] = ()

    def setting(self, name: str, default: str = "") -> str:
        """The value of a setting that stands once."""
        return self.settings.get(name, [default])[0]


@cache
def example(rule: Rule, kind: str) -> Example:
    """The "bad" or the "good" example of a rule."""
    return parse((FOLDER / f"{rule.code}.{kind}.txt").read_text(encoding="utf-8"))


def parse(text: str) -> Example:
    """Reads an example."""
    head, *parts = f"\n{text}".split(f"\n{_SEPARATOR}")
    settings: dict[str, list[str]] = {}
    for line in filter(None, head.splitlines()):
        name, _, value = line.partition(":")
        settings.setdefault(name.strip(), []).append(value.strip())
    return Example(settings, tuple(_file(part) for part in parts))


def _file(part: str) -> ExampleFile:
    first, _, text = part.partition("\n")
    path, _, recipe = first.partition(": ")
    return ExampleFile(path.strip(), recipe.strip(), text if not text or text.endswith("\n") else f"{text}\n")
