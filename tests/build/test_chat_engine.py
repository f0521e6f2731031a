"""The engine's thread of `chat`, over the real engine and a small model: what is one conversation's trouble alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import openvino_genai
import pytest

from modelyard_build.steps.chat_parts.chat_engine import Conversation, Engine
from modelyard_build.steps.chat_parts.chat_text import Spoken
from support.small_chat import write_small_chat
from support.triton import eventually

TOKENS = 200


@dataclass
class Hears:
    """Remembers what it is told."""

    pieces: list[str] = field(default_factory=list)
    end: str = ""

    def said(self, text: str, tokens: int, reason: str) -> None:
        """A piece."""
        self.pieces.append(text)
        self.end = reason

    def failed(self, message: str) -> None:
        """The end."""
        self.end = message

    def cancelled(self) -> None:
        """The end."""
        self.end = "cancelled"

    def is_gone(self) -> bool:
        """It stays."""
        return False


class Breaks(Hears):
    """Cannot be told anything."""

    def said(self, text: str, tokens: int, reason: str) -> None:
        """Fails, as a response that cannot be made."""
        raise MemoryError("no room for a response")


class Leaves(Hears):
    """Is not there any more."""

    def is_gone(self) -> bool:
        """It went."""
        return True


class Unknown(Hears):
    """Nobody can say whether it is there."""

    def is_gone(self) -> bool:
        """Fails, as Triton may."""
        raise RuntimeError("no such request")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> openvino_genai.ContinuousBatchingPipeline:
    """The engine itself."""
    repository = tmp_path_factory.mktemp("small") / "model_repository"
    write_small_chat(repository)
    schedule = openvino_genai.SchedulerConfig()
    schedule.cache_size = 1
    return openvino_genai.ContinuousBatchingPipeline(str(repository / "chat" / "1"), schedule, "CPU")


@pytest.fixture
def reports() -> list[str]:
    """What goes into the log."""
    return []


@pytest.fixture
def engine(pipeline: openvino_genai.ContinuousBatchingPipeline, reports: list[str]) -> Iterator[Engine]:
    """Its thread."""
    opened = Engine(pipeline, 16, reports.append)
    yield opened
    opened.close()


def conversation(listener: Hears) -> Conversation:
    """A stream of `TOKENS` tokens."""
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.apply_chat_template = TOKENS, True, False
    spoken = Spoken(lambda token: b"x", (), include_stop=False)
    return Conversation(listener, np.array([[5, 6, 7]], np.int64), config, spoken, stream=True)


@pytest.mark.parametrize(
    ("listener", "end"),
    [
        (Breaks(), "the conversation failed: no room for a response. See the server's log."),
        (Unknown(), "the conversation failed: no such request. See the server's log."),
        (Leaves(), "cancelled"),
    ],
)
def test_the_trouble_of_one_is_not_that_of_the_others(
    engine: Engine, reports: list[str], listener: Hears, end: str
) -> None:
    """It ends; who asks beside it and after it gets every token."""
    others = [Hears(), Hears()]
    for each in (others[0], listener, others[1]):
        assert engine.take(conversation(each))
    assert eventually(lambda: all(each.end for each in (*others, listener)))
    later = Hears()
    assert engine.take(conversation(later))
    assert eventually(lambda: bool(later.end))
    assert listener.end == end
    assert len(reports) == (end != "cancelled")
    for each in (*others, later):
        assert each.end == "length"
        assert "".join(each.pieces) == "x" * TOKENS
