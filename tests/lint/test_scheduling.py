"""MY3xx, beyond each rule's pair of examples: what else it finds, and where it must be silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_build.repository.lint.settings import Settings
from support.lint_configs import TENSORS, mended, messages, write

PYTHON = f'backend: "python"\nmax_batch_size: 8\n{TENSORS}'
ONNX = f'backend: "onnxruntime"\nmax_batch_size: 8\n{TENSORS}'
BUDGET = Settings(latency_budget_ms={"*": 50.0, "m": 10.0})


def test_a_queue_is_a_use_of_dynamic_batching_without_batches(tmp_path: Path) -> None:
    """Its bound works at max_batch_size 0; only a block without queue and priorities does nothing."""
    bare = f'backend: "python"\nmax_batch_size: 0\n{TENSORS}dynamic_batching {{ %s }}'
    assert messages(tmp_path, "MY301", bare % "default_queue_policy { max_queue_size: 2 }") == []
    assert messages(tmp_path, "MY301", bare % "preferred_batch_size: [ ]") != []
    assert messages(tmp_path, "MY301", bare.replace("size: 0", "size: 1") % "") != []


@pytest.mark.parametrize(
    "text",
    [
        'backend: "onnxruntime"\ndynamic_batching { }',  # the graph may complete max_batch_size
        f'backend: "python"\n{TENSORS}dynamic_batching {{ }}',  # model.py may
    ],
)
def test_a_batch_size_that_may_be_completed_is_not_judged(tmp_path: Path, text: str) -> None:
    """Triton completes configs that leave something out."""
    assert messages(tmp_path, "MY301", text) == []


@pytest.mark.parametrize(
    "more",
    ["dynamic_batching { }", "sequence_batching { }", "model_transaction_policy { decoupled: true }"],
)
def test_a_scheduler_of_any_kind_is_one(tmp_path: Path, more: str) -> None:
    """Dynamic batching is missed only where nothing schedules."""
    assert messages(tmp_path, "MY302", ONNX) != []
    assert messages(tmp_path, "MY302", ONNX + more) == []


@pytest.mark.parametrize("text", [PYTHON, 'backend: "onnxruntime"\nmax_batch_size: 8\n', ONNX.replace("8", "1")])
def test_batching_is_not_asked_for_where_it_may_not_pay(tmp_path: Path, text: str) -> None:
    """A Python model may loop over its requests; what Triton completes gets the block; a batch of 1 is none."""
    assert messages(tmp_path, "MY302", text) == []


def test_preferred_sizes_of_sequences_are_held_to_the_same_range(tmp_path: Path) -> None:
    """Triton refuses them with the same words."""
    text = PYTHON + "sequence_batching { oldest { preferred_batch_size: [ 0, 4, 16 ] } }"
    found = messages(tmp_path, "MY303", text)
    assert [message.split("has ")[1].split(",")[0] for message in found] == ["0", "16"]


def test_a_tensorrt_engine_with_profiles_may_prefer_sizes(tmp_path: Path) -> None:
    """Each profile is fastest at its own batch."""
    block = "dynamic_batching { preferred_batch_size: [ 4 ] }\ninstance_group { %s }"
    text = f'backend: "tensorrt"\nmax_batch_size: 8\n{TENSORS}{block}'
    assert messages(tmp_path, "MY304", text % 'profile: [ "0", "1" ]') == []
    assert messages(tmp_path, "MY304", text % "count: 1") != []


def test_the_delay_is_held_against_the_models_own_budget(tmp_path: Path) -> None:
    """By the model's name, before "*"."""
    text = PYTHON + "dynamic_batching { max_queue_delay_microseconds: %d default_queue_policy { max_queue_size: 64 } }"
    assert "declared budget of a whole request is 10 ms" in messages(tmp_path, "MY305", text % 10_000, BUDGET)[0]
    assert messages(tmp_path, "MY305", text % 9_999, BUDGET) == []
    assert messages(tmp_path, "MY305", text % 1_000_000) == []


def test_the_delay_of_sequences_counts_too(tmp_path: Path) -> None:
    """Both strategies have one."""
    for strategy in ("direct", "oldest"):
        text = PYTHON + f"sequence_batching {{ {strategy} {{ max_queue_delay_microseconds: 5000000 }} }}"
        assert "5000 ms" in messages(tmp_path, "MY305", text)[0]


@pytest.mark.parametrize(
    ("tensor", "is_found"),
    [
        ("data_type: TYPE_INT64 dims: [ -1 ]", True),
        ("data_type: TYPE_INT32 dims: [ -1 ]", True),
        ("data_type: TYPE_INT64 dims: [ -1 ] allow_ragged_batch: true", False),
        ("data_type: TYPE_INT64 dims: [ 128 ]", False),
        ("data_type: TYPE_FP32 dims: [ 3, -1, -1 ]", False),
        ("data_type: TYPE_FP32 dims: [ -1 ]", False),
    ],
)
def test_only_token_sequences_are_asked_to_be_padded(tmp_path: Path, tensor: str, is_found: bool) -> None:
    """Whether images or signals differ in shape cannot be known; texts do."""
    text = (
        f'backend: "onnxruntime"\nmax_batch_size: 8\ninput {{ name: "x" {tensor} }}\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }\ndynamic_batching { }'
    )
    assert bool(messages(tmp_path, "MY306", text)) is is_found


def test_a_latency_budget_asks_for_a_bounded_queue(tmp_path: Path) -> None:
    """Without a budget a bare block is left alone: what may wait is the owner's to say."""
    assert messages(tmp_path, "MY307", PYTHON + "dynamic_batching { }") == []
    assert (
        "a latency budget of 10 ms is declared"
        in messages(tmp_path, "MY307", PYTHON + "dynamic_batching { }", BUDGET)[0]
    )
    bounded = PYTHON + "dynamic_batching { default_queue_policy { max_queue_size: 64 } }"
    assert messages(tmp_path, "MY307", bounded, BUDGET) == []


def test_each_priority_has_a_queue_of_its_own(tmp_path: Path) -> None:
    """The policies of the levels are looked at like the default one."""
    text = PYTHON + (
        "dynamic_batching { priority_levels: 2 default_priority_level: 1\n"
        "priority_queue_policy { key: 2 value { timeout_action: DELAY } }\n}"
    )
    assert len(messages(tmp_path, "MY307", text)) == 1
    assert len(messages(tmp_path, "MY308", text)) == 1


def test_a_timeout_bounds_a_queue_where_it_rejects(tmp_path: Path) -> None:
    """DELAY only lets others overtake."""
    policy = "dynamic_batching { default_queue_policy { default_timeout_microseconds: 1000 timeout_action: %s } }"
    assert messages(tmp_path, "MY307", PYTHON + policy % "REJECT") == []
    assert messages(tmp_path, "MY307", PYTHON + policy % "DELAY") != []


@pytest.mark.parametrize(
    ("policy", "is_found"),
    [
        ("default_queue_policy { %s }", True),
        ("priority_queue_policy { key: 1 value { %s } }", True),
        ("priority_levels: 1 default_priority_level: 1 default_queue_policy { %s }", True),
        ("default_queue_policy { timeout_action: DELAY }", False),
        ("priority_levels: 1 default_priority_level: 1", False),
    ],
)
def test_a_delayed_request_lets_others_overtake(tmp_path: Path, policy: str, is_found: bool) -> None:
    """Triton refuses it where the delay has a timeout; one level of priority is no conflict."""
    policy = policy.replace("%s", "timeout_action: DELAY default_timeout_microseconds: 5")
    text = PYTHON + f"dynamic_batching {{ preserve_ordering: true {policy} }}"
    assert bool(messages(tmp_path, "MY312", text)) is is_found


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ("control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }", "has no name"),
        ('name: "s" control { int32_false_true: [ 0, 1 ] fp32_false_true: [ 0, 1 ] }', "int32_false_true and fp32"),
        ('name: "s" control { int32_false_true: [ 0, 1, 2 ] }', "has 3 values"),
        ('name: "s" control { kind: CONTROL_SEQUENCE_CORRID int32_false_true: [ 0, 1 ] }', "carries a number"),
        ('name: "s" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 }', "needs a data_type"),
        (
            'name: "s" control { int32_false_true: [ 0, 1 ] } control { int32_false_true: [ 0, 1 ] }',
            "CONTROL_SEQUENCE_START has a tensor already",
        ),
    ],
)
def test_every_control_that_triton_refuses_is_named(tmp_path: Path, control: str, said: str) -> None:
    """Each was refused by the server; the kind is CONTROL_SEQUENCE_START where none is stated."""
    text = PYTHON + f"sequence_batching {{ control_input {{ {control} }} }}"
    assert said in messages(tmp_path, "MY314", text)[0]


@pytest.mark.parametrize(
    "control",
    [
        'name: "s"',
        'name: "s" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING }',
        'name: "s" control { bool_false_true: [ false, true ] }',
        'name: "s" control { int32_false_true: [ 0, 1 ] } '
        "control { kind: CONTROL_SEQUENCE_READY fp32_false_true: [ 0, 1 ] }",
        'name: "s" control { kind: 9 }',
    ],
)
def test_controls_that_triton_takes_are_left_alone(tmp_path: Path, control: str) -> None:
    """Each was loaded by the server."""
    text = PYTHON + f"sequence_batching {{ control_input {{ {control} }} }}"
    assert messages(tmp_path, "MY314", text) == []


def test_rows_without_a_request_need_the_ready_control(tmp_path: Path) -> None:
    """With the direct strategy and a batch; with the oldest, or without batches, there are no such rows."""
    start = 'control_input { name: "s" control { fp32_false_true: [ 0, 1 ] } }'
    assert "READY" in messages(tmp_path, "MY316", ONNX + f"sequence_batching {{ {start} }}")[0]
    assert messages(tmp_path, "MY316", ONNX + f"sequence_batching {{ {start} oldest {{ }} }}") == []
    assert messages(tmp_path, "MY316", ONNX.replace("8", "0") + f"sequence_batching {{ {start} }}") == []
    state = 'state { input_name: "i" output_name: "o" data_type: TYPE_FP32 dims: [ 1 ] }'
    assert messages(tmp_path, "MY316", ONNX + f"sequence_batching {{ {state} }}") == []


@pytest.mark.parametrize(
    ("initial", "said"),
    [
        ("data_type: TYPE_INT32 dims: [ 1 ] zero_data: true", "another data_type"),
        ("data_type: TYPE_FP32 dims: [ 1 ] zero_data: true", "has no name"),
        ('name: "a" data_type: TYPE_FP32 dims: [ 1, 1 ] zero_data: true', "as many are expected"),
        ('name: "a" data_type: TYPE_FP32 dims: [ 2 ] zero_data: true', "they must fit"),
        ('name: "a" data_type: TYPE_FP32 dims: [ -2 ] zero_data: true', "each 0 or more"),
        ('name: "a" data_type: TYPE_FP32 dims: [ 1 ]', "has no data"),
        ('name: "a" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true', ""),
    ],
)
def test_an_initial_state_must_fit_its_state(tmp_path: Path, initial: str, said: str) -> None:
    """In the order in which Triton looks."""
    state = f'state {{ input_name: "i" data_type: TYPE_FP32 dims: [ 1 ] initial_state {{ {initial} }} }}'
    found = messages(tmp_path, "MY320", PYTHON + f"sequence_batching {{ {state} }}")
    assert [said in message for message in found] == ([True] if said else [])


def test_a_cache_of_the_server_serves_the_models(tmp_path: Path) -> None:
    """Where the arguments are not known nothing is said."""
    text = PYTHON + "response_cache { enable: true }"
    assert messages(tmp_path, "MY322", text) == []
    assert messages(tmp_path, "MY322", text, Settings(server_arguments=())) != []
    for argument in ("--cache-config=local,size=1048576", "--cache-config", "--response-cache-byte-size=1048576"):
        assert messages(tmp_path, "MY322", text, Settings(server_arguments=(argument, "local,size=1"))) == []


def test_what_does_nothing_is_taken_out_with_its_line(tmp_path: Path) -> None:
    """Comments stay, also the one behind the field; what shares the line stays."""
    text = PYTHON + "# batches\ndynamic_batching {\n  preferred_batch_size: [ 2 ]\n  preferred_batch_size: 4 # why\n}\n"
    assert mended(tmp_path, "MY304", text) == PYTHON + "# batches\ndynamic_batching {\n # why\n}\n"
    inline = PYTHON + "dynamic_batching { preferred_batch_size: [ 4 ], preserve_ordering: true }\n"
    assert mended(tmp_path, "MY304", inline) == PYTHON + "dynamic_batching { preserve_ordering: true }\n"


def test_an_ensemble_of_the_repository_excuses_its_steps(tmp_path: Path) -> None:
    """The step before can pad. Only ensembles count, not a comment that names the model."""
    tokens = ONNX.replace("TYPE_FP32 dims: [ 4 ]", "TYPE_INT64 dims: [ -1 ]", 1) + "dynamic_batching { }"
    write(tmp_path, '# an ensemble of "m"\n' + PYTHON, "other")
    assert messages(tmp_path, "MY306", tokens) != []
    write(tmp_path, 'platform: "ensemble"\nensemble_scheduling { step { model_name: "m" } }', "text")
    assert messages(tmp_path, "MY306", tokens) == []
