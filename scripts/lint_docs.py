"""Writes the parts of docs/config.md that come from lint: its rules, and what it answers to common mistakes.

What stands between `<!-- generated: NAME -->` and `<!-- end -->` is replaced; the rest is written by people.

    python scripts/lint_docs.py            writes it
    python scripts/lint_docs.py --check    says whether it is up to date: exit code 1 where it is not
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from modelyard_build.repository.lint.examples import FOLDER
from modelyard_build.repository.lint.rule import Rule, Severity
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import Finding
from modelyard_ops.commands.rule import TOPICS
from modelyard_ops.linting.outputs.text import summary, written
from modelyard_ops.linting.run import Run
from modelyard_ops.linting.settings import Table as Settings
from modelyard_ops.linting.settings import settings_of
from modelyard_ops.linting.targets import targets

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "config.md"
REPOSITORY = ROOT / "model_repository"
DIFFERENCES = FOLDER.with_name("differences.json")
SYSTEM = ("text_embedder", "text_embedder_encoder", "text_embedder_tokenizer")
_GENERATED = re.compile(r"(<!-- generated: (\w+) -->)\n.*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Mistake:
    """A common way to break a config.

    Attributes:
        title: what somebody did.
        model: whose config.pbtxt.
        before: a piece of its text, as it stands in model_repository/.
        after: what they made of it.
        code: of the rule that must find it; others may follow.
        hardware: what the config is held against, where it matters.
    """

    title: str
    model: str
    before: str
    after: str
    code: str
    hardware: str = ""


ENCODER, TOKENIZER, ENSEMBLE = "text_embedder_encoder", "text_embedder_tokenizer", "text_embedder"
_NAMED = 'name: "sentence_encoder"\nmax_batch_size: 32'
_PREFERRED = "dynamic_batching {\n  preferred_batch_size: [ 16, 64 ]"
_WIRE, _MISSPELT = (f'value: "{name}" }}\n    input_map' for name in ("input_ids", "inputs_ids"))
MISTAKES = (
    Mistake("A field is misspelt", ENCODER, "max_batch_size: 32", "max_batchsize: 32", "MY101"),
    Mistake("A bracket is lost", ENCODER, "dims: [ 384 ] }", "dims: [ 384 }", "MY101"),
    Mistake("A folder was copied, and its name with it", ENCODER, "max_batch_size: 32", _NAMED, "MY102"),
    Mistake("The dims include the batch", ENCODER, "dims: [ 384 ]", "dims: [ -1, 384 ]", "MY234"),
    Mistake("The data type is another than the graph's", ENCODER, "TYPE_INT64", "TYPE_INT32", "MY233"),
    Mistake("A tensor is called otherwise than in the graph", ENCODER, '"embedding"', '"embeddings"', "MY231"),
    Mistake("A preferred batch size above the maximum", ENCODER, "dynamic_batching {", _PREFERRED, "MY303"),
    Mistake(
        "A parameter that the backend does not read", ENCODER, "intra_op_thread_count", "intra_op_threads", "MY405"
    ),
    Mistake("A GPU is asked for where there is none", ENCODER, "kind: KIND_AUTO", "kind: KIND_GPU", "MY410", "cpu"),
    Mistake("A tensor between two steps is misspelt", ENSEMBLE, _WIRE, _MISSPELT, "MY511"),
)


def page() -> str:
    """docs/config.md as it should be."""
    parts = {"mistakes": _mistakes, "contents": _contents, "rules": _rules, "differences": _differences}
    return _GENERATED.sub(
        lambda found: f"{found[1]}\n\n{parts[found[2]]()}\n\n{found[3]}", PAGE.read_text(encoding="utf-8")
    )


def _contents() -> str:
    """The rules by topic."""
    lines = []
    for number, topic in TOPICS.items():
        rules = _of_topic(number)
        if rules:
            lines += [f"**{topic[0].upper()}{topic[1:]}**", "", "| rule | severity | what is wrong |", "|---|---|---|"]
            lines += [f"| [{rule.code}](#{_anchor(rule)}) | {rule.severity.value} | {rule.summary} |" for rule in rules]
            lines.append("")
    return "\n".join(lines).rstrip()


def _of_topic(number: str) -> list[Rule]:
    return [rule for rule in RULES if rule.code.startswith(f"MY{number}")]


def _anchor(rule: Rule) -> str:
    """As GitHub makes it of the heading."""
    return f"{rule.code}-{rule.name}".lower()


def _rules() -> str:
    return "\n\n".join(_rule(rule) for rule in RULES)


def _rule(rule: Rule) -> str:
    kind = "Error" if rule.severity is Severity.ERROR else "Warning"
    return "\n\n".join(
        [
            f"### {rule.code} {rule.name}",
            f"{kind}: {rule.summary}. {rule.verdict.value}.",
            rule.reason,
            f"**Mend:** {rule.mend}",
            f"```diff\n{_example(rule)}\n```",
        ]
    )


def _example(rule: Rule) -> str:
    """What the good example has in the place of what the bad one has."""
    bad, good = (_lines(FOLDER / f"{rule.code}.{kind}.txt") for kind in ("bad", "good"))
    lines = list(difflib.unified_diff(bad, good, n=2, lineterm=""))[2:]
    return "\n".join("" if line.startswith("@@") else line for line in lines).strip("\n")


def _lines(path: Path) -> list[str]:
    """An example's files, each after a line with its name; and what it is held against."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("server:", "expect:", "model:"))]
    return [f"# {line.removeprefix('--- ')}" if line.startswith("--- ") else line for line in kept]


def _differences() -> str:
    """Where lint and the server differ on purpose."""
    if not DIFFERENCES.is_file():
        return "None is known."
    rows = json.loads(DIFFERENCES.read_text(encoding="utf-8"))["differences"]
    lines = [
        f"| {row['class']} | {_pattern(row, 'lint')} | {_pattern(row, 'server')} | {row['reason']} |" for row in rows
    ]
    return (
        "\n".join(["| | lint says | Triton says | why |", "|---|---|---|---|", *lines]) if lines else "None is known."
    )


def _pattern(row: dict[str, str], name: str) -> str:
    """What the row says one of the two answers, readable in a cell of a table."""
    return f"`{row[name]}`".replace("|", "\\|") if row.get(name) else "nothing"


def _mistakes() -> str:
    return "\n\n".join(_answer(number, mistake) for number, mistake in enumerate(MISTAKES, 1))


def _answer(number: int, mistake: Mistake) -> str:
    with tempfile.TemporaryDirectory() as folder, _working_in(folder):
        findings, text = lint(mistake, Path(folder))
    codes = [finding.rule.code for finding in findings]
    if codes[:1] != [mistake.code]:
        raise ValueError(f"{mistake.title}: expected {mistake.code} first, lint found {codes or 'nothing'}\n{text}")
    against = f"With `--hardware {mistake.hardware}`:\n\n" if mistake.hardware else ""
    return f"### {number}. {mistake.title}\n\n{against}```\n{text}\n```"


@contextlib.contextmanager
def _working_in(folder: str) -> Iterator[None]:
    """Paths are shown as from there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def lint(mistake: Mistake, folder: Path) -> tuple[Sequence[Finding], str]:
    """What lint says of a copy of a system whose config somebody broke."""
    repository = folder / REPOSITORY.name
    for model in SYSTEM:
        _copy(model, repository / model)
    path = repository / mistake.model / "config.pbtxt"
    text = path.read_text(encoding="utf-8")
    if mistake.before not in text:
        raise ValueError(f"{mistake.title}: {mistake.before!r} does not stand in {path} any more")
    path.write_text(text.replace(mistake.before, mistake.after, 1), encoding="utf-8")
    run = Run(targets([path], Settings()), settings_of(Settings(), None, mistake.hardware or None), RULES)
    findings = run.findings({})
    report = run.report(findings)
    return findings, written(report).removesuffix(f"{summary(report)}\n").rstrip()


def _copy(model: str, folder: Path) -> None:
    """What of a model is in git, and stand-ins for what is built: of the same signature, without its weights."""
    shutil.copytree(REPOSITORY / model, folder, ignore=shutil.ignore_patterns("[0-9]*", "configs"))
    (folder / "1").mkdir()
    if model == ENCODER:
        onnx.save(_encoder(), folder / "1" / "model.onnx")
    elif model == TOKENIZER:
        (folder / "1" / "model.py").write_text(_MODEL_PY, encoding="utf-8")


def _encoder() -> onnx.ModelProto:
    """A graph with the encoder's inputs and outputs."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 384])]
    nodes = [helper.make_node("Cast", ["input_ids"], ["embedding"], to=TensorProto.FLOAT)]
    graph = helper.make_graph(nodes, "encoder", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


_MODEL_PY = """\
class TritonPythonModel:
    def execute(self, requests):
        raise NotImplementedError
"""


def main() -> int:
    """Writes the page, or compares it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where the page is not up to date")
    expected = page()
    if not parser.parse_args().check:
        PAGE.write_text(expected, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == expected:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is not up to date; run: python scripts/lint_docs.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
