"""Conversations on the engine of `chat`, one of which makes trouble; prints as JSON what became of each.

A process of its own: OpenVINO GenAI leaves a signal stack set that it has given back, so that the next signal, whatever
it is for, ends the process that ran it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import openvino_genai

from modelyard_build.steps.chat_parts import chat_engine
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


@dataclass
class Leaves(Hears):
    """Is not there any more."""

    seen: float = 0.0

    def is_gone(self) -> bool:
        """It went."""
        self.seen = time.monotonic()
        return True

    def cancelled(self) -> None:
        """The end, not at once."""
        self.end = "cancelled" if time.monotonic() - self.seen >= chat_engine.LEAVE_S else "too soon"


class Unknown(Hears):
    """Nobody can say whether it is there."""

    def is_gone(self) -> bool:
        """Fails, as Triton may."""
        raise RuntimeError("no such request")


class Sticks(Hears):
    """Is told something, and that never ends."""

    def said(self, text: str, tokens: int, reason: str) -> None:
        """Waits, as for a Triton that hangs."""
        self.end = "stuck"
        threading.Event().wait()


class Dawdles(Hears):
    """Takes too long over everything."""

    def said(self, text: str, tokens: int, reason: str) -> None:
        """Waits, as for a Triton that has too much to do."""
        time.sleep(2 * chat_engine.STUCK_S)


TROUBLES = {"breaks": Breaks, "unknown": Unknown, "leaves": Leaves, "sticks": Sticks, "dawdles": Dawdles}


def conversation(listener: Hears, tokens: int = TOKENS) -> Conversation:
    """A stream of so many tokens."""
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.apply_chat_template = tokens, True, False
    spoken = Spoken(lambda token: b"x", (), include_stop=False)
    return Conversation(listener, np.array([[5, 6, 7]], np.int64), config, spoken, stream=True)


def outcome(engine: Engine, listener: Hears) -> dict[str, object]:
    """Two others beside it, and one after it."""
    others = [Hears(), Hears(), Hears()]
    assert engine.take(conversation(others[0]))
    # It would go on for seconds: it is asked before its end whether it is still there.
    assert engine.take(conversation(listener, 20 * TOKENS))
    assert engine.take(conversation(others[1]))
    assert eventually(lambda: all(each.end for each in (*others[:2], listener)))
    assert engine.take(conversation(others[2]))
    assert eventually(lambda: bool(others[2].end))
    return {"end": listener.end, "others": [[each.end, "".join(each.pieces)] for each in others]}


def main() -> None:
    """One engine for all the troubles."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        write_small_chat(repository)
        schedule = openvino_genai.SchedulerConfig()
        schedule.cache_size = 1
        pipeline = openvino_genai.ContinuousBatchingPipeline(str(repository / "chat" / "1"), schedule, "CPU")
        reports = list[str]()
        engine = Engine(pipeline, 16, reports.append)
        chat_engine.STUCK_S = 0.5
        found = {name: outcome(engine, kind()) for name, kind in TROUBLES.items()}
        engine.close()
    json.dump({"outcomes": found, "reports": reports}, sys.stdout)


if __name__ == "__main__":
    main()
