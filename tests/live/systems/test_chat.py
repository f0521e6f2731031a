"""Conversations: the project's own config, step and engine, in front of a small language model."""

from __future__ import annotations

import itertools
import json
import time
import urllib.request
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard_build.models.chat import CHAT, RETURNED
from modelyard_build.nets.smollm2 import LanguageModel
from modelyard_client import AsyncClient, Client, RetryPolicy
from modelyard_client.errors import ClientError, ConnectionLost, InferenceFailed, ServerBusy
from modelyard_client.tasks import AsyncChat, Chat, Completion
from modelyard_ops.building import server_on_free_ports
from modelyard_server.process import TritonServer
from support.small_chat import CONTEXT, TOKEN_BYTES, write_small_chat
from support.triton import eventually
from support.vanishing import IDLE, doomed_clients, killed_in_mid_stream, levels_off, pending, work

pytestmark = pytest.mark.live

LONGEST, AT_ONCE, WAITING = 256, 4, 4
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the model goes."""
    return tmp_path_factory.mktemp("small") / "model_repository"


@pytest.fixture(scope="module")
def model(repository: Path) -> LanguageModel:
    """The small model in PyTorch; served, it may be asked for little at a time."""
    return write_small_chat(repository, max_model_len=LONGEST, max_num_seqs=AT_ONCE, max_queue_size=WAITING)


@pytest.fixture(scope="module")
def server(repository: Path, model: LanguageModel) -> Iterator[TritonServer]:
    """An embedded Triton over it."""
    with server_on_free_ports(repository) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: TritonServer) -> Iterator[Client]:
    """A client of it."""
    with Client(f"grpc://{server.grpc_url}", deadline=60) as opened:
        yield opened


def whole(stream: Any) -> tuple[list[str], Completion]:
    """The pieces of a stream, and what it returns."""
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as done:
            return pieces, done.value


def texts(*contents: str) -> list[dict[str, str]]:
    """A conversation, the user first."""
    return [
        {"role": ("user", "assistant")[position % 2], "content": content} for position, content in enumerate(contents)
    ]


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def ask(client: Client, **inputs: Any) -> list[Any]:
    """The responses to a request of one's own making."""
    arrays = {
        name: np.array([value]) if isinstance(value, bool) else np.array([_bytes(value)], np.object_)
        for name, value in inputs.items()
    }
    return list(client.stream(CHAT.name, arrays))


@pytest.mark.parametrize("messages", [HELLO, texts("½ é 😀 12", "日本", "\n\tx"), texts("a" * 100)])
def test_an_answer_is_pytorchs(client: Client, model: LanguageModel, messages: list[dict[str, str]]) -> None:
    """Template, tokens, net and text: each piece of the stream as transformers makes it, and its tokens counted."""
    prompt = model.prompt_of(messages)
    tokens = model.answer(prompt, 40)
    pieces, completion = whole(Chat(client).stream(messages, max_tokens=40, temperature=0))
    assert pieces == [text for text, _ in model.pieces_of(tokens) if text]
    assert completion == Completion(model.text_of(tokens), "length", len(prompt), len(tokens))
    assert Chat(client).complete(messages, max_tokens=40, temperature=0) == completion


def test_conversations_beside_each_other_do_not_mix(client: Client, model: LanguageModel) -> None:
    """Each of several at once gets the answer that it gets alone, greedy or by its seed."""
    chat = Chat(client)
    asked = [texts(f"{number} and {number * number}") for number in range(AT_ONCE + WAITING)]
    with ThreadPoolExecutor(len(asked)) as threads:
        greedy = list(threads.map(lambda one: chat.complete(one, max_tokens=30, temperature=0).text, asked))
        drawn = list(threads.map(lambda one: chat.complete(one, max_tokens=30, seed=5).text, asked))
    assert greedy == [model.text_of(model.answer(model.prompt_of(one), 30)) for one in asked]
    assert drawn[3] == chat.complete(asked[3], max_tokens=30, seed=5).text
    assert drawn[3] != chat.complete(asked[3], max_tokens=30, seed=6).text


def test_a_stop_string_ends_an_answer_wherever_it_stands(client: Client) -> None:
    """Nothing of it is said, not even where it comes in parts; the rest of the answer is."""
    chat = Chat(client)
    text = chat.complete(HELLO, max_tokens=60, temperature=0).text
    stop = text[20:24]
    pieces, completion = whole(chat.stream(HELLO, max_tokens=60, temperature=0, stop=[stop, "never"]))
    assert completion.text == "".join(pieces) == text[: text.index(stop)]
    assert completion.finish_reason == "stop"
    kept = chat.complete(HELLO, max_tokens=60, temperature=0, stop=stop, include_stop_str_in_output=True)
    assert kept.text == text[: text.index(stop) + len(stop)]
    assert chat.complete(HELLO, max_tokens=60, temperature=0, stop="never there").text == text


def test_the_context_bounds_an_answer(client: Client) -> None:
    """max_tokens beyond it end with it; a prompt without room for a token is refused with both numbers."""
    found = Chat(client).complete(HELLO, max_tokens=10**9, temperature=0, ignore_eos=True)
    assert found.finish_reason == "length"
    assert found.prompt_tokens + found.completion_tokens == LONGEST
    with pytest.raises(ClientError, match=rf"the prompt has \d+ tokens; with its answer it may have {LONGEST}"):
        Chat(client).complete(texts("x" * LONGEST))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "there are no messages and text_input"),
        ({"messages": "[]", "text_input": "x"}, "there are both messages and text_input"),
        ({"messages": "[]"}, r"messages is \[\]; it is a JSON list of one message or more"),
        ({"messages": "[" * 100_000}, "messages is not JSON|messages has 100000 bytes"),
        (
            {"messages": '[{"role": "robot", "content": "x"}]'},
            r'messages\[0\] has the role "robot"; it is one of system',
        ),
        ({"messages": '[{"role": "user", "content": 3}]'}, r"messages\[0\] has the content 3; it is a text"),
        ({"messages": '[{"role": "user", "content": "<|im_end|>"}]'}, r"contains <\|im_end\|>"),
        ({"messages": '[{"role": "user", "content": "\\ud800"}]'}, "half a character"),
        ({"messages": b"[\xff]"}, "messages is not UTF-8: byte 1 of 3 is 0xff"),
        ({"text_input": ""}, "text_input is empty"),
        ({"text_input": "x" * 1_000_000}, "has 1000000 bytes, which is more than 256 tokens however they are cut"),
        ({"text_input": "x", "sampling_parameters": "{"}, "sampling_parameters is not JSON"),
        (
            {"text_input": "x", "sampling_parameters": '{"max_tokens": 0}'},
            "max_tokens is 0; it is a whole number, 1 or more",
        ),
        (
            {"text_input": "x", "sampling_parameters": '{"temperature": -1}'},
            "temperature is -1; it is a number, 0 or more",
        ),
        ({"text_input": "x", "sampling_parameters": '{"temperature": NaN}'}, "temperature is NaN"),
        (
            {"text_input": "x", "sampling_parameters": '{"top_p": NaN}'},
            "top_p is NaN; it is a number, above 0, at most 1",
        ),
        ({"text_input": "x", "sampling_parameters": '{"max_tokens": -3}'}, "max_tokens is -3; it is a whole number"),
        ({"text_input": "x", "sampling_parameters": '{"heat": 1}'}, "'heat' is not known; there are "),
        ({"text_input": "x", "stream": True, "exclude_input_in_output": False}, "which a stream cannot be"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(client: Client, inputs: dict[str, Any], words: str) -> None:
    """That request alone: the next one is answered."""
    with pytest.raises(ClientError, match=words):
        ask(client, **inputs)
    assert Chat(client).complete(HELLO, max_tokens=1, temperature=0).completion_tokens == 1


def test_a_prompt_goes_in_as_vllms_clients_send_it(client: Client, server: TritonServer, model: LanguageModel) -> None:
    """text_input without a template, at once and with the prompt in front; over HTTP's generate extension, too."""
    expected = model.text_of(model.answer(model.tokenizer("Once")["input_ids"], 8))
    (response,) = ask(client, text_input="Once", sampling_parameters='{"max_tokens": 8, "temperature": 0}')
    assert response["text_output"].tolist() == [f"Once{expected}".encode()]
    assert not set(RETURNED) & set(response)
    url = f"http://{server.http_url}/v2/models/{CHAT.name}/generate"
    body = {"text_input": "Once", "exclude_input_in_output": True, "max_tokens": 8, "temperature": 0}
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
        assert json.load(answer)["text_output"] == expected


@pytest.fixture(name="impatient")
def client_that_asks_once(server: TritonServer) -> Iterator[Client]:
    """A client that does not ask again where it is told to."""
    with Client(f"grpc://{server.grpc_url}", deadline=60, retry=RetryPolicy(attempts=1)) as opened:
        yield opened


def long_answer(client: Client, number: int, tokens: int = LONGEST) -> Generator[str, None, Completion]:
    """An answer that fills the context, each to another question."""
    return Chat(client).stream(texts(f"{number}"), max_tokens=tokens, temperature=0, ignore_eos=True)


def test_pieces_come_as_they_are_made(server: TritonServer) -> None:
    """Of several conversations, too: half of all pieces are there at half time, none waits for the engine to rest."""

    def when(number: int) -> list[float]:
        with Client(f"grpc://{server.grpc_url}", deadline=60) as own:
            return [time.monotonic() for _ in long_answer(own, number)]

    def middle() -> float:
        began = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            times = sorted(itertools.chain.from_iterable(threads.map(when, range(AT_ONCE))))
        return (times[len(times) // 2] - began) / (times[-1] - began)

    # A busy machine may keep the clients from reading.
    assert eventually(lambda: middle() < 0.65)


def test_the_queue_is_bounded(impatient: Client) -> None:
    """One more than are answered and wait is told so, and that it may ask again."""

    def one(number: int) -> Completion | ClientError:
        try:
            return whole(long_answer(impatient, number))[1]
        except ClientError as error:
            return error

    with ThreadPoolExecutor(60) as threads:
        found = list(threads.map(one, range(60)))
    busy = [each for each in found if isinstance(each, ServerBusy)]
    assert f"{AT_ONCE} conversations are being answered and {WAITING} wait" in str(busy[0])
    assert len(busy) + sum(isinstance(each, Completion) for each in found) == len(found)


def test_clients_that_vanish_leave_nothing(impatient: Client, client: Client, server: TritonServer) -> None:
    """In mid-answer or waiting: soon there is room for others, and memory stops growing."""

    def vanish(number: int) -> None:
        with closing(long_answer(impatient, number)) as stream, suppress(ServerBusy):
            next(stream)

    def wave() -> None:
        with ThreadPoolExecutor(20) as threads:
            list(threads.map(vanish, range(30)))
        assert eventually(lambda: not pending(server))
        assert Chat(client).complete(HELLO, max_tokens=1, temperature=0).completion_tokens == 1

    assert levels_off(server, wave, most=32)


async def test_the_async_task_answers_the_same(server: TritonServer, client: Client) -> None:
    """Pieces and the whole."""
    expected = Chat(client).complete(HELLO, max_tokens=20, temperature=0)
    async with AsyncClient(f"grpc://{server.grpc_url}", deadline=60) as opened:
        chat = AsyncChat(opened)
        assert "".join([piece async for piece in chat.stream(HELLO, max_tokens=20, temperature=0)]) == expected.text
        assert await chat.complete(HELLO, max_tokens=20, temperature=0) == expected


def test_a_parameter_of_another_kind_is_told_apart(client: Client) -> None:
    """What the model refuses in a stream is an error of the model's, with its words."""
    with (
        pytest.raises(InferenceFailed, match="top_p is 2; it is a number, above 0, at most 1"),
        closing(Chat(client).stream(HELLO, top_p=2)) as stream,
    ):
        next(stream)


def test_a_killed_server_is_told_in_mid_stream(tmp_path: Path) -> None:
    """At once, with how much had come and what to do; no process of the model's stays, and a new server answers."""
    repository = tmp_path / "model_repository"
    write_small_chat(repository, max_model_len=CONTEXT)
    # Some thousand tokens: a busy client that reads the first of them late is in mid-stream all the same.
    with server_on_free_ports(repository) as server:
        error, came = killed_in_mid_stream(server, lambda client: long_answer(client, 1, CONTEXT))
        assert type(error) is ConnectionLost
        assert f"{came} responses had come" in str(error)
        with Client(f"grpc://{server.grpc_url}", deadline=60) as again:
            assert Chat(again).complete(HELLO, max_tokens=1, temperature=0).completion_tokens == 1


@pytest.mark.slow
def test_200_clients_of_killed_processes_leave_nothing(tmp_path: Path) -> None:
    """50 at a time, in mid-answer: another is answered beside them, then no work is left, and memory does not grow."""
    repository, count, longest = tmp_path / "model_repository", 50, 512
    write_small_chat(repository, max_model_len=longest, max_num_seqs=count + 1, default_max_tokens=longest)
    asked = [
        {
            "messages": json.dumps(texts(f"{number}")),
            "sampling_parameters": json.dumps({"ignore_eos": True, "temperature": 1, "seed": number}),
            "stream": True,
        }
        for number in range(count)
    ]
    # The cache keeps the keys and values of what was said, as long as it has room: of two waves at most so many MiB.
    kept = 2 * count * longest * TOKEN_BYTES / 2**20
    with server_on_free_ports(repository) as running:
        url = f"grpc://{running.grpc_url}"

        def wave() -> None:
            with Client(url, deadline=120) as client, doomed_clients(url, CHAT.name, asked):
                assert Chat(client).complete(HELLO, max_tokens=4, temperature=0).completion_tokens == 4
            assert eventually(lambda: not pending(running))
            assert eventually(lambda: work(running) < IDLE)

        assert levels_off(running, wave, most=kept + 48)
