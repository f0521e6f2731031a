"""A system whose signature changed: rebuilt, its configs edited in the text, proven and served by a real Triton."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor as TorchTensor
from torch import nn

from modelyard_build.model import Arrays, Ensemble, Model, Step, Tensor
from modelyard_build.repository import config, manifest
from modelyard_build.verify import run_module
from modelyard_client import Client
from modelyard_ops.building import server_on_free_ports
from support.candidates import Steps, build, declare_only, short_rounds
from support.small_models import POOLER, SEQUENCE, Pooler

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

SIZES = {"sequence": 9}
MASK = POOLER.inputs[1]


class Renamed(nn.Module):
    """The pooler: its tokens are called otherwise and narrower, and of its scores three are answered."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Pooler()

    def forward(self, tokens: TorchTensor, attention_mask: TorchTensor) -> TorchTensor:
        """int32 [batch, sequence], int64 [batch, sequence] -> float [batch, 3]."""
        scores: TorchTensor = self.inner(tokens.long(), attention_mask)
        return scores[:, :3]


def renamed_examples(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """Those of the pooler."""
    found = POOLER.examples(files, batch, sizes)
    return {"tokens": found["input_ids"].astype(np.int32), "attention_mask": found["attention_mask"]}


RENAMED = replace(
    POOLER,
    load=lambda files: Renamed().eval(),
    inputs=(Tensor("tokens", "INT32", (SEQUENCE,)), MASK),
    outputs=(Tensor("logits", "FP32", (3,), ("a", "b", "c")),),
    examples=renamed_examples,
    max_batch_size=8,
)


def pooled(model: Model, module: type[nn.Module]) -> Ensemble:
    """A model behind another name."""

    def answers(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
        return run_module(model, module().eval(), inputs)

    names = [{tensor.name: tensor.name for tensor in tensors} for tensors in (model.inputs, model.outputs)]
    return Ensemble(
        name="pooled",
        summary="the pooler behind another name",
        steps=[Step(model.name, *names)],
        inputs=model.inputs,
        outputs=model.outputs,
        examples=lambda files, batch: model.examples(files, batch, SIZES),
        reference=answers,
        assets={},
        max_batch_size=model.max_batch_size,
        verified_items=20,
    )


@dataclass(frozen=True)
class Rebuilt:
    """The system after its signature changed.

    Attributes:
        repository: with two versions of each model.
        before: the configs as people had left them, by model.
        told: what the second build said.
    """

    repository: Path
    before: dict[str, str]
    told: str


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rebuilt]:
    """Built, edited by hand, declared otherwise, built again."""
    repository = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MODELYARD_DEVICE", "cpu")
        short_rounds(patch)
        declare_only(patch, POOLER, pooled(POOLER, Pooler))
        build(repository)
        before = {name: edited(repository / name / "config.pbtxt") for name in ("pooler", "pooled")}
        declare_only(patch, RENAMED, pooled(RENAMED, Renamed), file="assets.py")
        steps = Steps()
        results = build(repository, progress=steps)
        assert [(result.model, result.version) for result in results] == [("pooler", 2), ("pooled", 2)]
        yield Rebuilt(repository, before, "\n".join(steps.said))


def edited(path: Path) -> str:
    """A config with a comment in front of each line that has none, and another delay."""
    lines = path.read_text().replace("delay_microseconds: 1000", "delay_microseconds: 5").splitlines()
    text = "".join(f"# {number}\n{line}\n" for number, line in enumerate(lines))
    path.write_text(text)
    return text


def test_comments_and_hand_edits_are_all_there(rebuilt: Rebuilt) -> None:
    """In the order in which they stood."""
    for name, before in rebuilt.before.items():
        after = (rebuilt.repository / name / "config.pbtxt").read_text()
        comments = [line for line in before.splitlines() if line.startswith("#")]
        kept = [line for line in after.splitlines() if line.startswith("#")]
        assert kept == comments
        assert f"--- {rebuilt.repository / name / 'config.pbtxt'}" in rebuilt.told
    assert "delay_microseconds: 5\n" in (rebuilt.repository / "pooler" / "config.pbtxt").read_text()


def test_the_configs_say_what_is_declared(rebuilt: Rebuilt) -> None:
    """Inputs, outputs, labels, the largest batch, the warmup sample, the wiring of the ensemble."""
    own, ensemble = (config.read(rebuilt.repository / name / "config.pbtxt") for name in ("pooler", "pooled"))
    assert [(tensor.name, tensor.data_type) for tensor in own.input] == [("tokens", 8), ("attention_mask", 9)]
    assert [(tensor.name, list(tensor.dims), tensor.label_filename) for tensor in own.output] == [
        ("logits", [3], "labels.txt")
    ]
    assert (own.max_batch_size, ensemble.max_batch_size) == (8, 8)
    assert {name: value.input_data_file for name, value in own.model_warmup[0].inputs.items()} == {
        "tokens": "tokens",
        "attention_mask": "attention_mask",
    }
    (step,) = ensemble.ensemble_scheduling.step
    assert dict(step.input_map) == {"tokens": "tokens", "attention_mask": "attention_mask"}
    assert dict(step.output_map) == {"logits": "logits"}
    assert manifest.read(rebuilt.repository / "pooled" / "2").signature["steps"][0]["output_map"] == {
        "logits": "logits"
    }


def test_triton_serves_them(rebuilt: Rebuilt) -> None:
    """Both models load, warmup included, and answer as the module does."""
    inputs = renamed_examples({}, 3, SIZES)
    expected = run_module(RENAMED, Renamed().eval(), inputs)["logits"]
    with server_on_free_ports(rebuilt.repository) as server, Client(f"grpc://{server.grpc_url}") as client:
        for name in ("pooler", "pooled"):
            answer = client.infer(name, inputs)
            assert answer.model_version == "2"
            np.testing.assert_allclose(answer["logits"], expected, atol=1e-5)
