"""What the task Chat does without a server."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata, TensorSpec
from modelyard_client.tasks.chat import (
    OUTPUTS,
    chatml,
    checked_messages,
    checked_model,
    joined,
    outputs_of,
    reader_of,
    request,
    sampling_parameters,
)

HELLO = [{"role": "user", "content": "Hello"}]


def metadata(*inputs: str, outputs: tuple[str, ...] = OUTPUTS) -> ModelMetadata:
    """Of a model with these tensors."""
    return ModelMetadata(
        name="m",
        versions=("1",),
        platform="python",
        inputs=tuple(TensorSpec(name, "BYTES", (1,)) for name in inputs),
        outputs=tuple(TensorSpec(name, "BYTES", (-1,)) for name in outputs),
    )


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([], "messages is empty"),
        ("Hello", "messages is a single str; pass a list"),
        (HELLO[0], "messages is a single dict"),
        ([*HELLO, {"role": "robot", "content": "x"}], r"messages\[1\] has the role 'robot'; it is one of system"),
        (["Hello"], r"messages\[0\] has the role 'Hello'"),
        ([{"role": "user"}], r"messages\[0\] has a NoneType for its content; it is a text"),
    ],
)
def test_what_is_no_conversation_is_refused_before_anything_is_sent(messages: Any, sentence: str) -> None:
    """The position is named, and what to pass."""
    with pytest.raises(InvalidInput, match=sentence):
        checked_messages(messages)


def test_a_model_that_takes_messages_gets_them() -> None:
    """As JSON; the template is the server's."""
    made = request(checked_model(metadata("messages", "text_input", "sampling_parameters")), HELLO, "{}", chatml)
    assert json.loads(made["messages"][0]) == HELLO
    assert "text_input" not in made
    assert {name for name, array in made.items() if array.dtype == np.bool_} >= {"stream", "return_finish_reason"}


def test_vllms_model_gets_a_prompt() -> None:
    """Of the template that the caller names; ChatML without one."""
    model = checked_model(metadata("text_input", "sampling_parameters"))
    assert request(model, HELLO, "{}", chatml)["text_input"].tolist() == [
        b"<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    ]
    assert request(model, HELLO, "{}", lambda said: f"{len(said)}")["text_input"].tolist() == [b"1"]


def test_another_kind_of_model_is_refused() -> None:
    """What it lacks is named."""
    with pytest.raises(IncompatibleModel, match="no input messages or text_input, no input sampling_parameters"):
        checked_model(metadata("text"))
    with pytest.raises(IncompatibleModel, match="no output finish_reason"):
        checked_model(metadata("messages", "sampling_parameters", outputs=("text_output",)))


def test_sampling_parameters_go_by_vllms_names() -> None:
    """What was not said is left to the model; what JSON has no form for is refused here."""
    assert json.loads(sampling_parameters(5, 0.5, "x", 3, {"top_p": 0.9})) == {
        "max_tokens": 5,
        "temperature": 0.5,
        "stop": ["x"],
        "seed": 3,
        "top_p": 0.9,
    }
    assert json.loads(sampling_parameters(5, 1.0, (), None, {})) == {"max_tokens": 5, "temperature": 1.0}
    with pytest.raises(InvalidInput, match="not of JSON's kinds"):
        sampling_parameters(5, float("nan"), (), None, {})


# As model_repository/chat/configs/tensorrtllm.pbtxt has them.
TENSORRTLLM = metadata("text_input", "streaming", "sampling_param_max_tokens", outputs=("text_output", "finish_reason"))


def test_tensorrt_llms_model_gets_each_parameter_as_an_input() -> None:
    """Of its own type; greedy is said by top_k; the prompt is made here."""
    wanted = sampling_parameters(5, 0.0, ("a", "b"), 2**63, {"top_p": 0.5})
    made = request(checked_model(TENSORRTLLM), HELLO, wanted, chatml)
    assert made["text_input"].tolist() == [chatml(HELLO).encode()]
    assert made["sampling_param_stop"].tolist() == [b"a", b"b"]
    numbers = {name: array for name, array in made.items() if array.dtype.kind in "iuf"}
    assert {name: (str(array.dtype), array.tolist()) for name, array in numbers.items()} == {
        "sampling_param_max_tokens": ("int32", [5]),
        "sampling_param_top_p": ("float32", [0.5]),
        "sampling_param_seed": ("uint64", [2**63]),
        "sampling_param_top_k": ("int32", [1]),
    }
    assert {name for name, array in made.items() if array.dtype == np.bool_} == {
        "streaming",
        "sampling_param_exclude_input_from_output",
        "return_finish_reason",
    }
    assert outputs_of(TENSORRTLLM) == ("text_output", "finish_reason")


@pytest.mark.parametrize(
    ("further", "sentence"),
    [
        ({"min_p": 0.1}, "no sampling parameter 'min_p'; it has frequency_penalty, max_tokens"),
        ({"top_k": "many"}, "top_k is 'many', expected a number that int32 holds"),
        ({"seed": -1}, "seed is -1, expected a number that uint64"),
        ({"top_k": 1.5}, "top_k is 1.5, expected"),
        ({"top_p": True}, "top_p is True, expected a number that float32 holds"),
        ({"top_k": 2**40}, "top_k is 1099511627776, expected a number that int32"),
    ],
)
def test_what_tensorrt_llms_model_has_no_input_for_is_refused(further: dict[str, Any], sentence: str) -> None:
    """Before anything is sent, and not left out in silence."""
    with pytest.raises(InvalidInput, match=sentence):
        request(TENSORRTLLM, HELLO, sampling_parameters(5, 1.0, (), None, further), chatml)


def test_texts_that_grow_become_pieces() -> None:
    """Each response of TensorRT-LLM's holds all so far; half a character waits for its other half, or for the end."""
    texts = ["Gr", "Gr\ufffd", "Grü", "Grüß", "Grüß", "Grüße \ufffd"]
    read = reader_of(TENSORRTLLM)
    found = [
        read({"text_output": np.array([text.encode()]), "finish_reason": np.array([reason])})  # type: ignore[arg-type]
        for text, reason in zip(texts, [b"None"] * 5 + [b"length"], strict=True)
    ]
    assert [piece.text for piece in found] == ["Gr", "", "ü", "ß", "", "e \ufffd"]
    completion = joined(found)
    assert (completion.text, completion.finish_reason) == (texts[-1], "length")
    assert (completion.prompt_tokens, completion.completion_tokens) == (0, 0)
