"""Conversations with a language model, for Triton's Python backend: decoupled, on the engine of OpenVINO GenAI.

The engine answers many conversations at once: each of its steps computes the next token of all of them, and parts of
the prompts of those that are new (continuous batching, with a paged cache of keys and values in which equal beginnings
stand once). Inputs and outputs have the names that Triton's vLLM backend gives them; `messages` is this step's own.

- `messages`: JSON, a list of {"role": "system" | "user" | "assistant", "content": "…"}, to which the model's own chat
  template is applied; or `text_input`: the prompt as it is.
- `sampling_parameters`: JSON, by vLLM's names, as in the request's own parameters: temperature (0: the likeliest token
  always), top_p, top_k, min_p, seed, max_tokens, min_tokens, stop, include_stop_str_in_output, ignore_eos,
  repetition_penalty, presence_penalty, frequency_penalty.
- `stream`: whether the answer comes in pieces as it is made, each of whole characters; otherwise at once.
- `exclude_input_in_output`: false puts the prompt in front of an answer that comes at once.
- `return_finish_reason`, `return_num_input_tokens`, `return_num_output_tokens`: for these outputs with every response.
  `finish_reason` is stop or length, and None before the last; `num_output_tokens` counts since the last response.

A client that goes away stops its conversation; the cache's pages are free for others at once.

Reads from config.pbtxt's `parameters`:

- `max_model_len`: tokens of a prompt and its answer together.
- `default_max_tokens`: the longest answer where the request does not say.
- `max_num_seqs`: conversations that are answered at once.
- `max_queue_size`: further ones that may wait; the next is refused.
- `max_num_batched_tokens`: tokens that a step computes at most: parts of long prompts, between which others go on.
- `cache_size`: of keys and values, in GiB.
- `INFERENCE_PRECISION_HINT`, `KV_CACHE_PRECISION`, `DYNAMIC_QUANTIZATION_GROUP_SIZE`, `INFERENCE_NUM_THREADS`:
  OpenVINO's; 0 threads are as many as there are cores.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import openvino
import openvino_genai
import triton_python_backend_utils as pb_utils

if TYPE_CHECKING:
    from modelyard_build.steps.chat_parts.chat_engine import Conversation, Engine
    from modelyard_build.steps.chat_parts.chat_requests import (
        KNOWN,
        InvalidRequest,
        Sampling,
        decoded,
        messages_of,
        parsed,
        sampling_of,
    )
    from modelyard_build.steps.chat_parts.chat_text import Spoken
else:
    # In the version's folder they lie beside this file.
    from chat_engine import Conversation, Engine
    from chat_requests import KNOWN, InvalidRequest, Sampling, decoded, messages_of, parsed, sampling_of
    from chat_text import Spoken

ENGINE_SETTINGS = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE")
RETURNED = ("finish_reason", "num_input_tokens", "num_output_tokens")


@dataclass(frozen=True)
class Limits:
    """The step's own parameters; see the head of this file."""

    max_model_len: int
    default_max_tokens: int
    max_num_seqs: int
    max_queue_size: int
    max_num_batched_tokens: int
    cache_size: int


@dataclass(frozen=True)
class Asker:
    """Makes responses of what the engine says, and sends them.

    Attributes:
        sender: where they go.
        prompt_tokens: how long the prompt is.
        returned: the outputs that are wanted besides the text.
    """

    sender: Any
    prompt_tokens: int
    returned: tuple[str, ...]

    def said(self, text: str, tokens: int, reason: str) -> None:
        """A response."""
        outputs = {
            "text_output": pb_utils.Tensor("text_output", np.array([text.encode()], np.object_)),
            # None is how vLLM writes it.
            "finish_reason": pb_utils.Tensor("finish_reason", np.array([(reason or "None").encode()], np.object_)),
            "num_input_tokens": pb_utils.Tensor("num_input_tokens", np.array([self.prompt_tokens], np.uint32)),
            "num_output_tokens": pb_utils.Tensor("num_output_tokens", np.array([tokens], np.uint32)),
        }
        wanted = [outputs[name] for name in ("text_output", *self.returned)]
        send(self.sender, pb_utils.InferenceResponse(wanted), final=bool(reason))

    def failed(self, message: str) -> None:
        """An error of the engine's."""
        fail(self.sender, message, pb_utils.TritonError.INTERNAL)

    def cancelled(self) -> None:
        """The client is gone."""
        fail(self.sender, "the request was cancelled", pb_utils.TritonError.CANCELLED)

    def is_gone(self) -> bool:
        """Whether the client is: asked of a stream that has not ended, which Triton 2.51 may not survive otherwise."""
        return bool(self.sender.is_cancelled())


def send(sender: Any, response: Any, *, final: bool) -> None:
    """Sends a response; one client's trouble is not that of the others."""
    try:
        sender.send(response, pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0)
    except Exception as error:  # noqa: BLE001
        pb_utils.Logger.log_warn(f"chat: a response could not be sent: {error}")


def fail(sender: Any, message: str, code: int) -> None:
    """Ends a request with an error."""
    send(sender, pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code)), final=True)


class TritonPythonModel:
    """The step's one instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model out of this version's folder and says a first token.

        Args:
            args: Triton's description of the instance.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        self.limits = Limits(**{name: _integer(parameters, name) for name in Limits.__dataclass_fields__})
        folder = Path(args["model_repository"]) / args["model_version"]
        pipeline = openvino_genai.ContinuousBatchingPipeline(
            str(folder), _schedule(self.limits), "CPU", _properties(parameters)
        )
        self.tokenizer = pipeline.get_tokenizer()
        self.end = self.tokenizer.get_eos_token_id()
        vocabulary: dict[bytes, int] = self.tokenizer.get_vocab()
        self.spelling = {number: spelled for spelled, number in vocabulary.items()}
        self.longest = max(map(len, self.spelling.values()))
        self.control = self._control_tokens()
        pipeline.generate([openvino.Tensor(np.array([[self.end]]))], [self._config(sampling_of({"max_tokens": 1}), 1)])
        most = self.limits.max_num_seqs + self.limits.max_queue_size
        self.engine = Engine(pipeline, most, lambda said: pb_utils.Logger.log_error(f"chat: {said}"))

    def execute(self, requests: list[Any]) -> None:
        """Takes in requests; their responses come later. A bad one fails alone.

        Args:
            requests: see the head of this file.
        """
        for request in requests:
            sender = request.get_response_sender()
            try:
                conversation = self._conversation(request, sender)
            except InvalidRequest as error:
                fail(sender, str(error), pb_utils.TritonError.INVALID_ARG)
                continue
            if not self.engine.take(conversation):
                # The beginning is how Triton's own queues say it, so that clients know what it is.
                message = (
                    f"Exceeds maximum queue size: {self.limits.max_num_seqs} conversations are being answered and "
                    f"{self.limits.max_queue_size} wait. Ask again later."
                )
                fail(sender, message, pb_utils.TritonError.UNAVAILABLE)

    def finalize(self) -> None:
        """Answers what is there, then ends."""
        self.engine.close()

    def _conversation(self, request: Any, sender: Any) -> Conversation:
        sampling = _sampling(request)
        prompt, is_text = self._prompt(request)
        tokens = self._tokens(prompt)
        stream = _flag(request, "stream", default=False)
        excluded = _flag(request, "exclude_input_in_output", default=stream or not is_text)
        if stream and not excluded:
            raise InvalidRequest(
                "exclude_input_in_output is false, which a stream cannot be; leave it out, or say true."
            )
        wanted = tuple(name for name in RETURNED if _flag(request, f"return_{name}", default=False))
        return Conversation(
            Asker(sender, tokens.size, wanted),
            tokens,
            self._config(sampling, room=self.limits.max_model_len - tokens.size),
            Spoken(self._spelled, sampling.stop, include_stop=sampling.include_stop_str_in_output),
            stream,
            said="" if excluded else prompt,
        )

    def _prompt(self, request: Any) -> tuple[str, bool]:
        """The text before the answer, and whether the caller wrote it as it is."""
        text, messages = (_bytes(request, name) for name in ("text_input", "messages"))
        if (text is None) == (messages is None):
            raise InvalidRequest(
                f"there are {'no' if text is None else 'both'} messages and text_input; send one of the two."
            )
        if text is not None:
            return decoded(text, "text_input"), True
        assert messages is not None  # noqa: S101  # for the type checker
        self._check_size(len(messages), "messages")
        found = messages_of(parsed(decoded(messages, "messages"), "messages"), tuple(self.control))
        return self.tokenizer.apply_chat_template(found, add_generation_prompt=True), False

    def _tokens(self, prompt: str) -> npt.NDArray[np.int64]:
        """The prompt's tokens, int64 [1, n]."""
        size, most = len(prompt.encode()), self.limits.max_model_len - 1
        if not size:
            raise InvalidRequest("text_input is empty; there has to be something to go on from.")
        self._check_size(size, "the prompt")
        encoded = self.tokenizer.encode(prompt, add_special_tokens=False)
        tokens: npt.NDArray[np.int64] = encoded.input_ids.data.astype(np.int64)
        if tokens.size > most:
            raise InvalidRequest(
                f"the prompt has {tokens.size} tokens; with its answer it may have {self.limits.max_model_len}, so it "
                f"has at most {most}. Shorten it, or leave out the oldest messages."
            )
        return tokens

    def _check_size(self, size: int, what: str) -> None:
        """Refuses what has too many tokens however it is cut, before any work is done with it."""
        # JSON may write a byte in six.
        most = self.limits.max_model_len * self.longest * 6
        if size > most:
            raise InvalidRequest(
                f"{what} has {size} bytes, which is more than {self.limits.max_model_len} tokens however they are cut "
                f"({most} bytes at most). Shorten it, or leave out the oldest messages."
            )

    def _config(self, sampling: Sampling, room: int) -> Any:
        config = openvino_genai.GenerationConfig(**sampling.options)
        config.max_new_tokens = min(sampling.max_tokens or self.limits.default_max_tokens, room)
        config.rng_seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        config.apply_chat_template = False
        config.set_eos_token_id(self.end)
        return config

    def _control_tokens(self) -> dict[str, int]:
        """What speaks to the model and not of it, such as <|im_end|>: never said, and in no message."""
        candidates = {
            spelled: number for number, spelled in self.spelling.items() if spelled[:1] + spelled[-1:] == b"<>"
        }
        unsaid = {
            spelled.decode(): number
            for spelled, number in candidates.items()
            if not self.tokenizer.decode([number], skip_special_tokens=True)
        }
        for number in unsaid.values():
            self.spelling[number] = b""
        return unsaid

    def _spelled(self, token: int) -> bytes:
        return self.spelling.get(token, b"")


def _schedule(limits: Limits) -> Any:
    schedule = openvino_genai.SchedulerConfig()
    schedule.cache_size = limits.cache_size
    schedule.max_num_seqs = limits.max_num_seqs
    schedule.max_num_batched_tokens = limits.max_num_batched_tokens
    schedule.dynamic_split_fuse = True
    # A conversation's next turn begins as the one before it: its keys and values are computed once.
    schedule.enable_prefix_caching = True
    return schedule


def _properties(parameters: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """OpenVINO's settings; what is not in the config is left to OpenVINO."""
    properties: dict[str, Any] = {
        name: parameters[name]["string_value"] for name in ENGINE_SETTINGS if name in parameters
    }
    if threads := _integer(parameters, "INFERENCE_NUM_THREADS"):
        properties["INFERENCE_NUM_THREADS"] = threads
    return properties


def _sampling(request: Any) -> Sampling:
    """The sampling parameters: out of their input, else those of the request that have a known name."""
    given = _bytes(request, "sampling_parameters")
    if given is not None:
        return sampling_of(parsed(decoded(given, "sampling_parameters"), "sampling_parameters"))
    own = json.loads(request.parameters() or "{}")
    return sampling_of({name: value for name, value in own.items() if name in KNOWN})


def _input(request: Any, name: str) -> Any:
    """The one element of an input; None where there is no such input."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().reshape(-1)[0]


def _bytes(request: Any, name: str) -> bytes | None:
    value = _input(request, name)
    return None if value is None else bytes(value)


def _flag(request: Any, name: str, *, default: bool) -> bool:
    value = _input(request, name)
    return default if value is None else bool(value)


def _integer(parameters: Mapping[str, Mapping[str, str]], name: str) -> int:
    """A whole number out of config.pbtxt's parameters; a load error names what is wrong with it."""
    value = parameters.get(name, {}).get("string_value", "")
    if not value.isdigit():
        raise ValueError(
            f"parameters {{ key: {name!r} }} is {value!r}, expected a whole number, 0 or more, as string_value. "
            "Mend it in config.pbtxt."
        )
    return int(value)
