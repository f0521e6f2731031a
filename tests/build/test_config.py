"""config.pbtxt: what is written is valid and complete; what people wrote is held against the artefact, by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from modelyard_build.errors import ConfigContradiction
from modelyard_build.model import AnyModel, Tensor
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
