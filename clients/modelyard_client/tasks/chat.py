"""Messages in, an answer out, piece by piece or whole."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard_client.aio import AsyncClient
from modelyard_client.client import Client
from modelyard_client.datatypes import Array
from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata
from modelyard_client.result import Result
from modelyard_client.tasks import chat_tensorrtllm

ROLES = ("system", "user", "assistant")
TEXT, REASON, PROMPT_TOKENS, TOKENS = "text_output", "finish_reason", "num_input_tokens", "num_output_tokens"
OUTPUTS = (TEXT, REASON, PROMPT_TOKENS, TOKENS)
# How vLLM writes that there is no reason yet.
NOT_YET = ("", "None")
MAX_TOKENS = 256


@dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
        text: What was said.
        finish_reason: "stop" where the model, or a stop string, ended it; "length" where `max_tokens` or the model's
            context did.
        prompt_tokens: How long the prompt was; 0 where the model does not say (TensorRT-LLM's).
        completion_tokens: How long the answer is; likewise.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class _Piece:
    text: str
    finish_reason: str
    prompt_tokens: int
    tokens: int


def chatml(messages: Sequence[Mapping[str, str]]) -> str:
    """The prompt of models that were tuned on ChatML, such as SmolLM2 and Qwen2.5."""
    said = "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
    return f"{said}<|im_start|>assistant\n"


class Chat:
    """Talks to a language model over gRPC, which answers many conversations at once.

    The model is `chat` as this project serves it, which applies the chat template itself, or a model of Triton's vLLM
    backend, which has the same tensors but takes a prompt: it is then made here. So it is for a model of TensorRT-LLM's
    LLM API, which has an input for each sampling parameter and does not count tokens.

    Args:
        client: Where the model is.
        model: A decoupled model with the input `messages` or `text_input`, and `sampling_parameters`, BYTES [1].
        prompt: Makes the prompt of messages for a model without the input `messages`.
    """

    def __init__(
        self,
        client: Client,
        model: str = "chat",
        *,
        prompt: Callable[[Sequence[Mapping[str, str]]], str] = chatml,
    ) -> None:
        self._client = client
        self._name = model
        self._prompt = prompt
        self._metadata: ModelMetadata | None = None

    def stream(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int = MAX_TOKENS,
        temperature: float = 1.0,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        deadline: float | None = None,
        **sampling: Any,
    ) -> Generator[str, None, Completion]:
        """Answers, and yields each piece of the answer as it comes: whole characters, joined they are the answer.

        Closing the generator (at the end of `with contextlib.closing(...)`) stops the work on the server. What it
        returns (`completion = yield from chat.stream(...)`) says why and with how many tokens the answer ended.

        Args:
            messages: What was said so far, the oldest first: [{"role": "user", "content": "Hello"}]; the roles are
                system, user and assistant.
            max_tokens: The longest answer. Where the model's context is full before, the answer ends there.
            temperature: 0 for the likeliest token always; the higher, the more chance.
            stop: Texts that end the answer and are no part of it.
            seed: The same seed gives the same answer, as long as the model and its server stay the same; None draws.
            deadline: Seconds until the last piece; None takes the client's.
            sampling: Further parameters by vLLM's names, such as top_p, top_k or repetition_penalty; the model says
                which it knows.

        Raises:
            InvalidInput: The messages are not of that form.
            ServerBusy: Too many conversations wait.
            InferenceFailed: The model refuses a parameter or a prompt that is too long, and says why.
            IncompatibleModel: The model is of another kind.
            ClientError: As `Client.stream`.
        """
        wanted = sampling_parameters(max_tokens, temperature, stop, seed, sampling)
        return self._stream(checked_messages(messages), wanted, deadline)

    def complete(self, messages: Sequence[Mapping[str, str]], **arguments: Any) -> Completion:
        """Answers at once; arguments and errors are those of `stream`."""
        pieces = self.stream(messages, **arguments)
        while True:
            try:
                next(pieces)
            except StopIteration as done:
                completion: Completion = done.value
                return completion

    def _stream(
        self, messages: list[dict[str, str]], wanted: str, deadline: float | None
    ) -> Generator[str, None, Completion]:
        if self._metadata is None:
            self._metadata = checked_model(self._client.metadata(self._name))
        inputs, read = request(self._metadata, messages, wanted, self._prompt), reader_of(self._metadata)
        pieces: list[_Piece] = []
        outputs = outputs_of(self._metadata)
        with closing(self._client.stream(self._name, inputs, outputs=outputs, deadline=deadline)) as results:
            for result in results:
                pieces.append(read(result))
                if pieces[-1].text:
                    yield pieces[-1].text
        return joined(pieces)


class AsyncChat:
    """`Chat` for an `AsyncClient`."""

    def __init__(
        self,
        client: AsyncClient,
        model: str = "chat",
        *,
        prompt: Callable[[Sequence[Mapping[str, str]]], str] = chatml,
    ) -> None:
        self._client = client
        self._name = model
        self._prompt = prompt
        self._metadata: ModelMetadata | None = None

    def stream(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int = MAX_TOKENS,
        temperature: float = 1.0,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        deadline: float | None = None,
        **sampling: Any,
    ) -> AsyncGenerator[str, None]:
        """As `Chat.stream`, but for what it returns: `complete` tells. `contextlib.aclosing` closes it."""
        wanted = sampling_parameters(max_tokens, temperature, stop, seed, sampling)
        return self._texts(checked_messages(messages), wanted, deadline)

    async def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int = MAX_TOKENS,
        temperature: float = 1.0,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        deadline: float | None = None,
        **sampling: Any,
    ) -> Completion:
        """As `Chat.complete`."""
        wanted = sampling_parameters(max_tokens, temperature, stop, seed, sampling)
        return joined([piece async for piece in self._pieces(checked_messages(messages), wanted, deadline)])

    async def _texts(
        self, messages: list[dict[str, str]], wanted: str, deadline: float | None
    ) -> AsyncGenerator[str, None]:
        async with aclosing(self._pieces(messages, wanted, deadline)) as pieces:
            async for piece in pieces:
                if piece.text:
                    yield piece.text

    async def _pieces(
        self, messages: list[dict[str, str]], wanted: str, deadline: float | None
    ) -> AsyncGenerator[_Piece, None]:
        if self._metadata is None:
            self._metadata = checked_model(await self._client.metadata(self._name))
        inputs, read = request(self._metadata, messages, wanted, self._prompt), reader_of(self._metadata)
        outputs = outputs_of(self._metadata)
        async with aclosing(self._client.stream(self._name, inputs, outputs=outputs, deadline=deadline)) as results:
            async for result in results:
                yield read(result)


def checked_model(metadata: ModelMetadata) -> ModelMetadata:
    """The same; raises IncompatibleModel unless it is that of a language model."""
    inputs, outputs = ({spec.name for spec in specs} for specs in (metadata.inputs, metadata.outputs))
    missing = [] if inputs & {"messages", "text_input"} else ["input messages or text_input"]
    if "sampling_parameters" not in inputs and not chat_tensorrtllm.is_meant(metadata):
        missing.append("input sampling_parameters")
    missing += [f"output {name}" for name in outputs_of(metadata) if name not in outputs]
    if missing:
        raise IncompatibleModel(
            f"model '{metadata.name}' has no {', no '.join(missing)}; this task needs a model such as `chat`, "
            "one of Triton's vLLM backend, release 24.12 or later, or one of TensorRT-LLM's LLM API. Pass the name of "
            "such a model.",
            model=metadata.name,
        )
    return metadata


def outputs_of(metadata: ModelMetadata) -> tuple[str, ...]:
    """What is asked for: TensorRT-LLM's model counts no tokens."""
    return OUTPUTS[:2] if chat_tensorrtllm.is_meant(metadata) else OUTPUTS


def checked_messages(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The messages as they came.

    Raises:
        InvalidInput: There is none, or one is not a role and a text; names its position.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InvalidInput(
            f'messages is a single {type(messages).__name__}; pass a list: [{{"role": "user", "content": "Hello"}}].'
        )
    if not messages:
        raise InvalidInput('messages is empty; pass at least one: [{"role": "user", "content": "Hello"}].')
    for position, message in enumerate(messages):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            role = message.get("role") if isinstance(message, Mapping) else message
            raise InvalidInput(f"messages[{position}] has the role {role!r:.60}; it is one of {', '.join(ROLES)}.")
        if not isinstance(message.get("content"), str):
            kind = type(message.get("content")).__name__
            raise InvalidInput(f"messages[{position}] has a {kind} for its content; it is a text.")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def sampling_parameters(
    max_tokens: int, temperature: float, stop: str | Sequence[str], seed: int | None, further: Mapping[str, Any]
) -> str:
    """How to choose tokens, as JSON by vLLM's names.

    Raises:
        InvalidInput: A value is none that JSON has.
    """
    wanted = {"max_tokens": max_tokens, "temperature": temperature, **further}
    if stop:
        wanted["stop"] = [stop] if isinstance(stop, str) else list(stop)
    if seed is not None:
        wanted["seed"] = seed
    try:
        return json.dumps(wanted, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the sampling parameters {wanted!r:.200} are not of JSON's kinds: {error}.") from error


def request(
    metadata: ModelMetadata,
    messages: list[dict[str, str]],
    wanted: str,
    prompt: Callable[[Sequence[Mapping[str, str]]], str],
) -> dict[str, Array]:
    """The inputs, of what the model has: vLLM's takes a prompt in place of messages."""
    if chat_tensorrtllm.is_meant(metadata):
        return chat_tensorrtllm.request(_encodable(prompt(messages)), json.loads(wanted))
    takes_messages = any(spec.name == "messages" for spec in metadata.inputs)
    name, text = ("messages", json.dumps(messages)) if takes_messages else ("text_input", prompt(messages))
    texts = {name: text, "sampling_parameters": wanted}
    flags = ("stream", "exclude_input_in_output", *(f"return_{name}" for name in OUTPUTS[1:]))
    encoded = {name: np.array([_encodable(text).encode()], np.object_) for name, text in texts.items()}
    return {**encoded, **{flag: np.array([True]) for flag in flags}}


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"a message contains half a character (a lone surrogate): {error}.") from error
    return text


def reader_of(metadata: ModelMetadata) -> Callable[[Result], _Piece]:
    """What reads the responses of one stream, in order."""
    if not chat_tensorrtllm.is_meant(metadata):
        return parse_piece
    said = chat_tensorrtllm.Reader()

    def read(result: Result) -> _Piece:
        text, reason = _only(result, TEXT).decode(errors="replace"), _only(result, REASON).decode()
        ended = reason not in NOT_YET
        return _Piece(said.rest(text) if ended else said.new(text), reason if ended else "", 0, 0)

    return read


def parse_piece(result: Result) -> _Piece:
    """One response."""
    reason = _only(result, REASON).decode()
    return _Piece(
        text=_only(result, TEXT).decode(errors="replace"),
        finish_reason="" if reason in NOT_YET else reason,
        prompt_tokens=int(_only(result, PROMPT_TOKENS)),
        tokens=int(_only(result, TOKENS)),
    )


def _only(result: Result, name: str) -> Any:
    return result[name].reshape(-1)[0]


def joined(pieces: Sequence[_Piece]) -> Completion:
    """The whole answer."""
    return Completion(
        "".join(piece.text for piece in pieces),
        pieces[-1].finish_reason if pieces else "",
        pieces[-1].prompt_tokens if pieces else 0,
        sum(piece.tokens for piece in pieces),
    )
