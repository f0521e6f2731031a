"""`chat`: messages in, an answer out as a stream of text (SmolLM2-135M-Instruct), many conversations at once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelyard_build import steps
from modelyard_build.assets import LocalAsset
from modelyard_build.datasets import simple_questions
from modelyard_build.model import Array, Arrays, Axis, Evaluation, PythonModel, Tensor
from modelyard_build.nets import smollm2_assets
from modelyard_build.rounding import joined_rows

if TYPE_CHECKING:
    from modelyard_build.nets.smollm2 import LanguageModel

PARTS = Path(steps.__path__[0]) / "chat_parts"
RETURNED = ("finish_reason", "num_input_tokens", "num_output_tokens")
# Answers to simple questions are short; what comes after their first sentence is no part of them.
ANSWER_TOKENS = 16
# Of a conversation that is compared with PyTorch's.
MOST_TOKENS = 32
ONE = Axis("answers", 1, 1)
BYTES, FLAG = "BYTES", "BOOL"


def _asked(questions: Sequence[str], tokens: Sequence[int], *, stream: bool) -> Arrays:
    """One request for each question, greedy, with every output.

    Returns:
        `messages` and `sampling_parameters` BYTES, the rest BOOL, all [questions, 1].
    """
    messages = [json.dumps([{"role": "user", "content": question}]) for question in questions]
    sampling = [json.dumps({"temperature": 0, "max_tokens": most}) for most in tokens]
    flags = {f"return_{name}": True for name in RETURNED}
    return {
        **{
            name: np.array([text.encode() for text in texts], np.object_).reshape(-1, 1)
            for name, texts in (("messages", messages), ("sampling_parameters", sampling))
        },
        **{name: np.full((len(messages), 1), said) for name, said in {"stream": stream, **flags}.items()},
    }


def example_requests(files: Mapping[str, Path], batch: int) -> Arrays:
    """Conversations of one question each; the answers come at once."""
    return _conversations(batch, stream=False)


def corner_requests(files: Mapping[str, Path]) -> Sequence[Arrays]:
    """Some of them as a stream; one token; a character of several tokens in the prompt and maybe in the answer."""
    return [_conversations(8, stream=True), _asked(["½ + ½ = 1 😀", "日本"], [1, 1], stream=True)]


def _conversations(count: int, *, stream: bool) -> Arrays:
    chosen = list(islice(cycle(simple_questions.CONVERSATIONS.items()), count))
    tokens = [min(clear, MOST_TOKENS) for _, clear in chosen]
    return _asked([question for question, _ in chosen], tokens, stream=stream)


def reference(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What transformers answers, greedily, in the pieces in which it is due.

    Returns:
        `text_output` and `finish_reason` BYTES, the numbers of tokens UINT32: [items, responses, 1].
    """
    from modelyard_build.nets.smollm2 import load_language_model

    model = load_language_model(files["gguf"])
    messages, sampling, streams = (inputs[name].reshape(-1) for name in ("messages", "sampling_parameters", "stream"))
    prompts = [model.prompt_of(json.loads(one)) for one in messages]
    answers = model.answers(prompts, [json.loads(one)["max_tokens"] for one in sampling])
    rows = [
        _responses(model, len(prompt), tokens, stream=bool(stream))
        for prompt, tokens, stream in zip(prompts, answers, streams, strict=True)
    ]
    return {name: joined_rows([row[name] for row in rows]) for name in rows[0]}


def _responses(model: LanguageModel, prompt_tokens: int, tokens: Sequence[int], *, stream: bool) -> Arrays:
    """The responses to one request: [1, responses, 1]."""
    pieces = list(model.pieces_of(tokens)) if stream else [(model.text_of(tokens), len(tokens))]
    reasons = [*["None"] * (len(pieces) - 1), "stop" if tokens[-1] == model.tokenizer.eos_token_id else "length"]
    columns: Mapping[str, Array] = {
        "text_output": np.array([text.encode() for text, _ in pieces], np.object_),
        "finish_reason": np.array([reason.encode() for reason in reasons], np.object_),
        "num_input_tokens": np.full(len(pieces), prompt_tokens, np.uint32),
        "num_output_tokens": np.array([count for _, count in pieces], np.uint32),
    }
    return {name: column.reshape(1, -1, 1) for name, column in columns.items()}


def write(files: Mapping[str, Path], folder: Path) -> None:
    """Puts the model and its tokenizer, in OpenVINO's form, into the version's folder."""
    from modelyard_build.nets.gguf_openvino import write_openvino
    from modelyard_build.nets.smollm2 import load_language_model

    net = load_language_model(files["gguf"]).net
    weights = {name: weight.numpy() for name, weight in net.state_dict().items()}
    write_openvino(files["gguf"], weights, folder)


def evaluation_data(files: Mapping[str, Path]) -> tuple[Arrays, Array]:
    """Questions with one short right answer; for each the number by which `figures` finds its words."""
    questions = list(simple_questions.QUESTIONS)
    return _asked(questions, [ANSWER_TOKENS] * len(questions), stream=False), np.arange(len(questions))


def figures(outputs: Arrays, truth: Array) -> Mapping[str, float]:
    """How many questions are answered right: one of the answer's words stands in the text."""
    answers = list(simple_questions.QUESTIONS.values())
    right = [
        any(re.search(rf"\b{re.escape(word)}\b", bytes(text).decode().lower()) for word in answers[number])
        for number, text in zip(truth, outputs["text_output"][:, 0, 0], strict=True)
    ]
    return {"simple questions right": float(np.mean(right))}


CHAT = PythonModel(
    name="chat",
    summary="Messages in, an answer out as a stream of text: SmolLM2-135M-Instruct",
    source=Path(steps.__path__[0]) / "chat.py",
    # The names of Triton's vLLM backend, which serves the model where there is a GPU; `messages` is beyond them.
    inputs=(
        Tensor("text_input", BYTES, (1,), optional=True),
        Tensor("messages", BYTES, (1,), optional=True),
        Tensor("sampling_parameters", BYTES, (1,), optional=True),
        *(
            Tensor(name, FLAG, (1,), optional=True)
            for name in ("stream", "exclude_input_in_output", *(f"return_{name}" for name in RETURNED))
        ),
    ),
    outputs=(
        Tensor("text_output", BYTES, (ONE,)),
        Tensor("finish_reason", BYTES, (ONE,)),
        Tensor("num_input_tokens", "UINT32", (1,)),
        Tensor("num_output_tokens", "UINT32", (ONE,)),
    ),
    files={path.name: LocalAsset(path) for path in sorted(PARTS.glob("chat_*.py"))},
    parameters={
        "max_model_len": "2048",
        "default_max_tokens": "256",
        "max_num_seqs": "16",
        "max_queue_size": "64",
        "max_num_batched_tokens": "256",
        "cache_size": "1",
        "INFERENCE_PRECISION_HINT": "f32",
        "KV_CACHE_PRECISION": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        "INFERENCE_NUM_THREADS": "0",
    },
    assets={"gguf": smollm2_assets.GGUF},
    examples=example_requests,
    corners=corner_requests,
    reference=reference,
    write=write,
    max_batch_size=0,
    dynamic_batching=None,
    verified_items=len(simple_questions.CONVERSATIONS),
    decoupled=True,
    evaluation=Evaluation(data=evaluation_data, figures=figures, data_sha256=simple_questions.SHA256),
)

MODELS = (CHAT,)
