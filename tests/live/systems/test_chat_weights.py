"""The language model with its real weights, built into a repository of the tests' own, and served."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
import torch

from modelyard_build.assets import fetch
from modelyard_build.datasets import simple_questions
from modelyard_build.models.chat import CHAT
from modelyard_build.nets.smollm2 import LanguageModel, load_language_model
from modelyard_build.repository import manifest, versions
from modelyard_build.sources import pinned_assets
from modelyard_client import Client
from modelyard_client.tasks import Chat
from modelyard_server.process import TritonServer
from support.own_systems import build_own

# Where nothing is cached, 98 MB are fetched and some 80 answers are made by transformers.
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[3]
HEALTH_CHECK = ROOT / "deploy" / "healthcheck" / "infer.py"
# Logits by which the best token leads the next where no machine's rounding decides otherwise.
CLEAR = 0.03
CONVERSATION = [
    {"role": "system", "content": "You are a helpful librarian. You answer in one sentence."},
    {"role": "user", "content": "Who wrote Pride and Prejudice?"},
    {"role": "assistant", "content": "Jane Austen wrote Pride and Prejudice, which was published in 1813."},
    {"role": "user", "content": "Name another novel of hers."},
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own config, with a version that this module built (or found proven in the cache)."""
    return build_own(tmp_path_factory.mktemp("chat") / "model_repository", CHAT.name)


@pytest.fixture(scope="module")
def chat(server: TritonServer) -> Iterator[Chat]:
    """The client's task."""
    with Client(f"grpc://{server.grpc_url}", deadline=300) as client:
        yield Chat(client)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """The same weights in transformers."""
    return load_language_model(fetch(pinned_assets(CHAT), print)["gguf"])


def asked(question: str) -> list[dict[str, str]]:
    """A conversation that begins."""
    return [{"role": "user", "content": question}]


def clear_answer(model: LanguageModel, messages: Sequence[dict[str, str]], most: int) -> list[int]:
    """Transformers' greedy tokens up to the first that leads the next best by little."""
    prompt = model.prompt_of(messages)
    tokens = model.answer(prompt, most)
    with torch.inference_mode():
        logits = model.net(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    best = logits.topk(2).values
    close = torch.nonzero(best[:, 0] - best[:, 1] < CLEAR).flatten().tolist()
    return tokens[: close[0]] if close else tokens


@pytest.mark.parametrize("question", list(islice(simple_questions.CONVERSATIONS, 12)))
def test_greedy_tokens_are_transformers(chat: Chat, model: LanguageModel, question: str) -> None:
    """As many as are clear, piece by piece; text, counts and reason with them."""
    tokens = clear_answer(model, asked(question), 48)
    assert len(tokens) > 4
    pieces = list(chat.stream(asked(question), max_tokens=len(tokens), temperature=0))
    assert pieces == [text for text, _ in model.pieces_of(tokens) if text]
    found = chat.complete(asked(question), max_tokens=len(tokens), temperature=0)
    assert (found.text, found.completion_tokens) == (model.text_of(tokens), len(tokens))
    assert found.prompt_tokens == len(model.prompt_of(asked(question)))
    assert found.finish_reason == ("stop" if tokens[-1] == model.tokenizer.eos_token_id else "length")


def test_a_conversation_goes_on_from_what_was_said(chat: Chat, model: LanguageModel) -> None:
    """System, user and assistant reach the model by its own template; another history gives another answer."""
    tokens = clear_answer(model, CONVERSATION, 32)
    assert len(tokens) > 4
    found = chat.complete(CONVERSATION, max_tokens=len(tokens), temperature=0)
    assert found.text == model.text_of(tokens)
    assert found.prompt_tokens == len(model.prompt_of(CONVERSATION))
    assert found.text != chat.complete(CONVERSATION[-1:], max_tokens=len(tokens), temperature=0).text


def test_a_stop_string_ends_the_answer(chat: Chat) -> None:
    """Before it, whatever tokens it is made of; one that never comes changes nothing."""
    question = asked("List the planets of the solar system.")
    whole = chat.complete(question, max_tokens=60, temperature=0)
    stop = whole.text[25:31]
    found = chat.complete(question, max_tokens=60, temperature=0, stop=["never in an answer", stop])
    assert (found.text, found.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
    assert found.completion_tokens < whole.completion_tokens
    assert chat.complete(question, max_tokens=60, temperature=0, stop="never in an answer") == whole


def test_a_seed_repeats_a_drawn_answer(chat: Chat) -> None:
    """The same one again, also beside others; another seed, or none, draws another."""
    question = asked("Tell me a story about a lighthouse.")

    def drawn(seed: int | None) -> str:
        return chat.complete(question, max_tokens=40, temperature=0.9, top_p=0.95, seed=seed).text

    first = drawn(3)
    with ThreadPoolExecutor(4) as threads:
        beside = list(threads.map(drawn, [4, 3, 5, None]))
    assert beside[1] == first
    assert len({first, beside[0], *beside[2:], drawn(None)}) == 5


def test_eight_conversations_at_once_are_answered_as_each_alone(chat: Chat) -> None:
    """None hears what another was asked."""
    questions = [asked(question) for question in islice(simple_questions.QUESTIONS, 8)]

    def answer(messages: list[dict[str, str]]) -> str:
        return chat.complete(messages, max_tokens=24, temperature=0).text

    alone = list(map(answer, questions))
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(answer, questions)) == alone
    assert len(set(alone)) == 8


def test_the_health_check_finds_it_well(server: TritonServer, repository: Path) -> None:
    """By the golden sample that stands in git."""
    line = [sys.executable, "-I", "-S", str(HEALTH_CHECK), f"--url=http://{server.http_url}"]
    done = subprocess.run(
        [*line, f"--repository={repository}", "--timeout=60"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "healthy: chat answered as expected")


def test_the_manifest_tells_how_many_questions_it_answers(repository: Path) -> None:
    """As many as in PyTorch, and more than half."""
    latest = versions.latest(repository / CHAT.name)
    assert latest is not None
    found = manifest.read(latest).metrics
    assert found["served"] == pytest.approx(found["pytorch"], abs=0.03)
    assert found["served"]["simple questions right"] > 0.5
