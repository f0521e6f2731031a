"""The rules of scheduling and instances, over configs that nobody would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard_build.repository.lint.hardware import machine
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import check
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Repository
from modelyard_build.repository.model_config import ModelConfig

MINE = [rule for rule in RULES if rule.code.startswith(("MY3", "MY4")) and rule.subject.__name__ == "Config"]
FIELDS = (
    "dynamic_batching",
    "sequence_batching",
    "instance_group",
    "optimization",
    "parameters",
    "response_cache",
    "model_transaction_policy",
    "input",
)
BACKENDS = ("", "onnxruntime", "openvino", "pytorch", "python", "tensorrt", "tensorrt_rtx", "mine")
NUMBERS = st.sampled_from([0, 1, 2, 8, 1 << 30])
SIGNED = st.one_of(NUMBERS, st.sampled_from([-1, -2, -(1 << 31)]))
TEXTS = st.sampled_from(["", "x", "0", "-1", "tensorrt", "EXECUTION_ENV_PATH", "intra_op_thread_count", "\u00e9\n"])
SERVERS = st.sampled_from(
    [
        Settings(),
        Settings(machine=machine("cpu:cores=2"), server_arguments=()),
        Settings(
            machine=machine("h200:gpus=2"),
            server_arguments=("--rate-limit=execution_count", "--rate-limit-resource=x:1"),
            latency_budget_ms={"*": 1.0},
        ),
    ]
)


def fill(draw: st.DrawFn, message: Any, depth: int = 0) -> None:
    """Sets some fields of a message to anything that the schema allows."""
    fields = [field for field in message.DESCRIPTOR.fields if depth or field.name in FIELDS]
    for field in (
        draw(st.lists(st.sampled_from(fields), unique_by=lambda field: field.name, max_size=6)) if fields else ()
    ):
        if field.is_repeated and field.message_type and field.message_type.GetOptions().map_entry:
            entries(draw, getattr(message, field.name), field.message_type)
        elif field.message_type and depth < 5:
            target = getattr(message, field.name)
            for item in [target.add() for _ in range(draw(st.integers(0, 2)))] if field.is_repeated else [target]:
                if not field.is_repeated:
                    item.SetInParent()
                fill(draw, item, depth + 1)
        elif not field.message_type and field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(value_of(field), max_size=3)))
        elif not field.message_type:
            setattr(message, field.name, draw(value_of(field)))


def entries(draw: st.DrawFn, target: Any, entry: Any) -> None:
    """Fills a map."""
    for key in draw(st.lists(value_of(entry.fields_by_name["key"]), max_size=2)):
        value = entry.fields_by_name["value"]
        if value.message_type:
            fill(draw, target[key], 3)
        else:
            target[key] = draw(value_of(value))


def value_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Anything for a field that is no message."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return TEXTS
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return st.sampled_from([0.0, 0.5, -1.0, 1e30, float("inf"), float("nan")])
    if kind in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64):
        return NUMBERS
    return st.integers(0, 20) if kind == FieldDescriptor.CPPTYPE_ENUM else SIGNED


@st.composite
def configs(draw: st.DrawFn) -> str:
    """The text of a config that Triton could parse."""
    message = ModelConfig(backend=draw(st.sampled_from(BACKENDS)), max_batch_size=draw(SIGNED))
    fill(draw, message)
    return text_format.MessageToString(message)


@given(text=configs(), server=SERVERS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_config_breaks_a_rule(tmp_path: Path, text: str, server: Settings) -> None:
    """Whatever a config says, each finding has a place within it and a sentence; none raises."""
    folder = tmp_path / "m"
    folder.mkdir(exist_ok=True)
    (folder / "config.pbtxt").write_text(text)
    config = Repository(tmp_path, server).models["m"].config
    assert config is not None
    if not config.is_valid:
        return
    for finding in check(config, MINE):
        assert finding.message
        assert len(finding.message) < 500
        assert finding.line <= len(text.splitlines())


def test_the_rules_are_there() -> None:
    """The selection above is not empty."""
    assert len(MINE) >= 40
