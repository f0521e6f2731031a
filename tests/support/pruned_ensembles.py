"""Ensembles of which some outputs cannot be asked for alone, over models that add their inputs up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard_build.repository.lint.rules import BY_CODE
from modelyard_build.repository.lint.run import lint
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Repository

CODE = "MY522"
ADDING = """\
import json
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def initialize(self, args):
        self.inputs = [tensor["name"] for tensor in json.loads(args["model_config"])["input"]]
    def execute(self, requests):
        return [self.answer(request) for request in requests]
    def answer(self, request):
        total = sum(pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, total) for name in request.requested_output_names()])
"""


@dataclass(frozen=True)
class PrunedEnsemble:
    """An ensemble.

    Attributes:
        name: the model's.
        inputs, outputs: its tensors.
        steps: what each reads and writes.
        failing: the outputs that Triton never answers with alone.
    """

    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    steps: Sequence[tuple[Sequence[str], Sequence[str]]]
    failing: Sequence[str]


PRUNED = (
    PrunedEnsemble("chain", "x", "tv", [("x", "t"), ("t", "v")], "tv"),
    PrunedEnsemble("inner_tensor", "x", "v", [("x", "t"), ("t", "v")], ""),
    PrunedEnsemble("second_tensor_inside", "x", "tv", [("x", "tu"), ("tu", "v")], "t"),
    PrunedEnsemble("written_twice", "x", "uv", [("x", "tu"), ("t", "v")], ""),
    PrunedEnsemble("asked_for_beside", "x", "tuv", [("x", "tu"), ("t", "v")], "tuv"),
    PrunedEnsemble("fan", "x", "ab", [("x", "t"), ("t", "a"), ("t", "b")], ""),
    PrunedEnsemble("parts_apart", "xy", "tv", [("x", "t"), ("y", "v")], "t"),
)


def write_ensembles(repository: Path) -> Path:
    """Writes the ensembles and their models; returns the repository."""
    for inputs in (1, 2):
        for outputs in (1, 2):
            folder = repository / f"add_{inputs}_{outputs}"
            (folder / "1").mkdir(parents=True)
            (folder / "1" / "model.py").write_text(ADDING)
            tensors = _tensors("input", [f"i{at}" for at in range(inputs)])
            tensors += _tensors("output", [f"o{at}" for at in range(outputs)])
            (folder / "config.pbtxt").write_text(
                f'backend: "python"\n{tensors}instance_group {{ kind: KIND_CPU count: 1 }}\n'
            )
    for one in PRUNED:
        (repository / one.name / "1").mkdir(parents=True)
        steps = "".join(_step(reads, writes) for reads, writes in one.steps)
        tensors = _tensors("input", one.inputs) + _tensors("output", one.outputs)
        (repository / one.name / "config.pbtxt").write_text(
            f'platform: "ensemble"\n{tensors}ensemble_scheduling {{\n{steps}}}\n'
        )
    return repository


def findings(repository: Path, name: str) -> list[str]:
    """What the rule says of an ensemble."""
    found = lint([Repository(repository, Settings())], [], Settings(), [BY_CODE[CODE]])
    return [each.message for each in found if each.path.parent.name == name]


def _tensors(role: str, names: Sequence[str]) -> str:
    return "".join(f'{role} {{ name: "{name}" data_type: TYPE_FP32 dims: [ 1 ] }}\n' for name in names)


def _step(reads: Sequence[str], writes: Sequence[str]) -> str:
    maps = [f'input_map {{ key: "i{at}" value: "{tensor}" }}' for at, tensor in enumerate(reads)]
    maps += [f'output_map {{ key: "o{at}" value: "{tensor}" }}' for at, tensor in enumerate(writes)]
    return f'step {{ model_name: "add_{len(reads)}_{len(writes)}" model_version: -1 {" ".join(maps)} }}\n'
