"""config.pbtxt: what is written is valid and complete; what people wrote is held against the artefact, by line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from modelyard_build.errors import ConfigContradiction
from modelyard_build.model import AnyModel, DynamicBatching, QueuePolicy, Tensor
from modelyard_build.models import all_models, find
from modelyard_build.repository import config
from support.small_models import POOLER


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.name)
def test_a_written_config_agrees_with_its_model(model: AnyModel, tmp_path: Path) -> None:
    """Every listed model's own config parses and contradicts nothing."""
    path = tmp_path / "config.pbtxt"
    path.write_text(config.render(model))
    config.check(path, model)


def test_settings_stand_where_triton_reads_them() -> None:
    """Batching, queue policy, instances, warmup and version policy arrive in the message as declared."""
    warmup = [Tensor(tensor.name, tensor.dtype, (24,)) for tensor in POOLER.inputs]
    message = text_format.Parse(config.render(POOLER, warmup), model_config_pb2.ModelConfig())
    assert message.dynamic_batching.max_queue_delay_microseconds == 1000
    assert message.dynamic_batching.default_queue_policy.max_queue_size == 64
    assert [group.count for group in message.instance_group] == [2]
    assert dict(message.model_warmup[0].inputs)["input_ids"].input_data_file == "input_ids"
    assert message.version_policy.latest.num_versions == 1


def test_priority_levels_stand_where_triton_reads_them() -> None:
    """With the queue policy of each level that has its own; without levels none of it is said."""
    batching = DynamicBatching(1000, 64, 9, (2,), 2, 2, {1: QueuePolicy(8, 7)})
    message = text_format.Parse(
        config.render(replace(POOLER, dynamic_batching=batching)), model_config_pb2.ModelConfig()
    )
    found = message.dynamic_batching
    assert (found.priority_levels, found.default_priority_level, list(found.preferred_batch_size)) == (2, 2, [2])
    urgent = found.priority_queue_policy[1]
    assert (urgent.max_queue_size, urgent.default_timeout_microseconds, urgent.allow_timeout_override) == (8, 7, True)
    assert (found.default_queue_policy.max_queue_size, found.default_queue_policy.default_timeout_microseconds) == (
        64,
        9,
    )
    assert "priority" not in config.render(POOLER)


@pytest.mark.parametrize("levels", [(2, 0, {}), (2, 3, {}), (0, 1, {}), (2, 1, {3: QueuePolicy(1, 0)})])
def test_levels_that_triton_would_refuse_are_not_declared(levels: tuple[int, int, dict[int, QueuePolicy]]) -> None:
    """A default outside of them, or none; a policy of one that is not there."""
    with pytest.raises(ValueError, match="Triton takes levels from 1 to priority_levels only"):
        DynamicBatching(1000, 64, 0, (), *levels)


@pytest.mark.parametrize(
    ("levels", "line", "words"),
    [
        ("priority_levels: 2\n", 15, "default_priority_level is 0, Triton takes 1 to 2"),
        ("priority_levels: 2\ndefault_priority_level: 3\n", 16, "default_priority_level is 3, Triton takes 1 to 2"),
        (
            "priority_levels: 1\ndefault_priority_level: 1\npriority_queue_policy { key: 2 value { } }\n",
            17,
            "priority_queue_policy is for level 2, the levels are 1 to 1",
        ),
    ],
)
def test_levels_that_contradict_one_another_name_their_line(tmp_path: Path, levels: str, line: int, words: str) -> None:
    """Before anything is built: Triton would refuse the model when it is proven."""
    path = tmp_path / "config.pbtxt"
    path.write_text(config.render(POOLER).replace("dynamic_batching {\n", "dynamic_batching {\n" + levels))
    with pytest.raises(ConfigContradiction, match=words) as caught:
        config.check(path, POOLER)
    assert f"{path}:{line}:" in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "line", "words"),
    [
        ("max_batch_size: 16", "max_batch_size: 64", 4, "max_batch_size is 64, the artefact was proven from 1 to 16"),
        ("max_batch_size: 16", "max_batch_size: 0", 4, "max_batch_size is 0"),
        ('backend: "onnxruntime"', 'backend: "python"', 2, "'python', the artefact needs onnxruntime"),
        ("TYPE_FP32", "TYPE_FP16", 10, "output 'scores' is TYPE_FP16, the artefact's is TYPE_FP32"),
        ("dims: [ 5 ]", "dims: [ -1 ]", 10, "output 'scores' has dims [-1], the artefact's are [5]"),
        ('"scores"', '"score"', 10, "output 'score' is not the artefact's; it has scores"),
        ('"input_ids"', '"ids"', 6, "input 'ids' is not the artefact's"),
        ('backend: "onnxruntime"', 'name: "other"\nbackend: "onnxruntime"', 2, "name is 'other', the folder is"),
    ],
)
def test_a_contradiction_names_its_line(tmp_path: Path, before: str, after: str, line: int, words: str) -> None:
    """file:line, what stands there, and what the artefact demands."""
    path = tmp_path / "config.pbtxt"
    text = config.render(POOLER)
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(ConfigContradiction) as caught:
        config.check(path, POOLER)
    assert any(str(path) + f":{line}:" in row and words in row for row in str(caught.value).splitlines()), caught.value


def test_what_operators_tune_is_no_contradiction(tmp_path: Path) -> None:
    """A smaller batch, a narrower input, other instances and delays are theirs to choose."""
    text = config.render(POOLER).replace("max_batch_size: 16", "max_batch_size: 4").replace("count: 2", "count: 3")
    path = tmp_path / "config.pbtxt"
    path.write_text(text.replace("dims: [ -1 ]", "dims: [ 24 ]"))
    config.check(path, POOLER)


def test_a_syntax_error_has_line_and_column(tmp_path: Path) -> None:
    """Behind the file's name, and what was meant."""
    path = tmp_path / "config.pbtxt"
    path.write_text('backend: "onnxruntime"\nmax_batch_sise: 4\n')
    with pytest.raises(ConfigContradiction, match=r"config\.pbtxt:2:1: .*max_batch_sise.* Did you mean max_batch_size"):
        config.read(path)


def test_bytes_that_are_not_text_are_named(tmp_path: Path) -> None:
    """A binary file in the config's place is one sentence."""
    path = tmp_path / "config.pbtxt"
    path.write_bytes(b'backend: "\xff\xfe"')
    with pytest.raises(ConfigContradiction, match=r"config\.pbtxt:1:10: backend is not UTF-8 at its byte 0"):
        config.read(path)


def test_an_ensemble_with_other_steps_is_refused(tmp_path: Path) -> None:
    """Wiring another model into a step is seen."""
    model = find("text_embedder")
    path = tmp_path / "config.pbtxt"
    path.write_text(config.render(model).replace('"text_embedder_encoder"', '"another_encoder"'))
    with pytest.raises(ConfigContradiction, match="steps are text_embedder_tokenizer, another_encoder"):
        config.check(path, model)


def test_a_config_for_a_backend_that_loads_something_else_is_let_be(tmp_path: Path) -> None:
    """VLLM's and TensorRT-LLM's under a model's name are not held against what the build makes; any other one is."""
    (tmp_path / "configs").mkdir()
    for name, backend in {"gpu": "vllm", "tensorrtllm": "python", "mine": "pyton"}.items():
        (tmp_path / "configs" / f"{name}.pbtxt").write_text(f'backend: "{backend}"\n')
    (tmp_path / "config.pbtxt").write_text('backend: "vllm"\n')
    assert [path.name for path in config.paths(tmp_path)] == ["config.pbtxt", "mine.pbtxt"]


def test_every_config_of_the_repository_agrees_with_its_model() -> None:
    """What stands in git can be built: the first thing that a fresh clone's `modelyard build` looks at."""
    repository = Path(__file__).parents[2] / "model_repository"
    for model in all_models():
        for path in config.paths(repository / model.name):
            config.check(path, model)
