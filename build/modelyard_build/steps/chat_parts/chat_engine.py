"""Many conversations on one engine: a thread takes in new ones, computes a step of all, and hands out what was said.

Nothing is handed out during a step: no other thread of this process runs then, because the engine does not release
Python's global lock. One that sent what was said would do so once for each step, and the streams of many conversations
would fall behind, to arrive when the engine rests. So it waits until everything is handed out, though not for ever.

Knows OpenVINO GenAI and nothing of Triton; only how much time its requests need.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import openvino
import openvino_genai

if TYPE_CHECKING:
    from modelyard_build.steps.chat_parts.chat_text import Spoken

REASONS = {openvino_genai.GenerationFinishReason.STOP: "stop", openvino_genai.GenerationFinishReason.LENGTH: "length"}
# How often listeners are asked whether they are still there.
WATCH_S = 0.2
# So long after it was seen that a client has gone, its request is ended. Triton 2.51 releases a stream twice, and
# crashes, where the end comes before the last response to that client is off its hands.
LEAVE_S = 1.0
# What Triton has not taken by then it hardly ever takes: in its gRPC endpoint a response and the cancellation of its
# stream may lock each other out.
STUCK_S = 10.0
STUCK = (
    f"Triton has not taken a response for {STUCK_S:g} s: its gRPC endpoint hangs, as it may over a stream that is "
    "cancelled. The conversation is given up. Restart the server soon: further streams may hang."
)


class Listener(Protocol):
    """Who asked."""

    def said(self, text: str, tokens: int, reason: str) -> None:
        """A piece of the answer, made of so many tokens; the reason says why it is the last one, and is else empty."""

    def failed(self, message: str) -> None:
        """There will be no more."""

    def cancelled(self) -> None:
        """There will be no more, as nobody listens."""

    def is_gone(self) -> bool:
        """Whether nobody listens any more."""


@dataclass(eq=False)
class Conversation:
    """One request, from its prompt to its last token.

    Attributes:
        listener: who asked.
        prompt: its tokens, int64 [1, n].
        config: what the engine is asked for.
        spoken: makes text of tokens.
        stream: whether every piece is handed out, or the whole at the end.
        said: text that has not been handed out; at first what stands before the answer.
        gone: whether nobody listens any more.
    """

    listener: Listener
    prompt: npt.NDArray[np.int64]
    config: Any
    spoken: Spoken
    stream: bool
    said: str = ""
    gone: bool = False
    _handle: Any = None
    _tokens: int = 0

    def start(self, pipeline: Any, number: int) -> None:
        """Gives it to the engine, under a number."""
        self._handle = pipeline.add_request(number, openvino.Tensor(self.prompt), self.config)

    def stop(self) -> None:
        """Takes it from the engine, wherever it is: its pages are free for others."""
        if self._handle is not None:
            self._handle.cancel()

    def fail(self, message: str) -> bool:
        """Ends it with an error; True, as that was the end."""
        self.stop()
        self.listener.failed(message)
        return True

    def advance(self, *, asks: bool) -> bool:
        """Hands out what the engine has made of it, after asking whether anybody listens; whether that was the end."""
        reason = self._taken()
        # An end to a client that is going is the worst for Triton.
        self.gone = (asks or bool(reason)) and self.listener.is_gone()
        if self.gone:
            self.stop()
            return True
        if not reason and self._handle.get_status() == openvino_genai.GenerationStatus.IGNORED:
            return self.fail("the conversation does not fit into the cache. Raise cache_size in config.pbtxt.")
        if reason or (self.stream and self.said):
            self.listener.said(self.said, self._tokens, reason)
            self.said, self._tokens = "", 0
        if reason:
            # Where a text of the caller's ended it, the engine would go on.
            self.stop()
        return bool(reason)

    def _taken(self) -> str:
        reason = ""
        while not reason and not self.spoken.stopped and self._handle.can_read():
            for output in self._handle.read().values():
                self._tokens += len(output.generated_ids)
                self.said += self.spoken.push(output.generated_ids)
                reason = REASONS.get(output.finish_reason, "")
        if reason:
            self.said += self.spoken.end()
        return "stop" if self.spoken.stopped else reason


class Hands(threading.Thread):
    """Hands out to one conversation after the other; may be stuck in that, as what is outside may never take it.

    Args:
        advance: hands out to a conversation; whether that was its end.
        conversations: to which.
    """

    def __init__(self, advance: Callable[[Conversation], bool], conversations: Iterable[Conversation]) -> None:
        super().__init__(name="hands", daemon=True)
        self._advance = advance
        self._waiting = deque(conversations)
        self._current: Conversation | None = None
        self._kept: list[Conversation] = []
        self._lock = threading.Lock()
        self._is_alone = False

    def run(self) -> None:
        """The thread."""
        while (conversation := self._next()) is not None:
            ends = self._advance(conversation)
            with self._lock:
                self._current = None
                if not ends and not self._is_alone:
                    self._kept.append(conversation)
            if not ends and self._is_alone:
                conversation.fail(f"Triton took a response after more than {STUCK_S:g} s; nobody waited for that.")

    def _next(self) -> Conversation | None:
        with self._lock:
            self._current = self._waiting.popleft() if self._waiting else None
            return self._current

    def let_go(self) -> tuple[list[Conversation], Conversation | None, list[Conversation]]:
        """Those that have not ended, the one in which it is stuck, if any, and those that it does not come to."""
        with self._lock:
            self._is_alone = True
            rest = list(self._waiting)
            self._waiting.clear()
            return list(self._kept), self._current, rest


@dataclass
class Engine:
    """Drives a pipeline in a thread of its own.

    Attributes:
        pipeline: OpenVINO GenAI's ContinuousBatchingPipeline.
        most: conversations that may be there at a time.
        report: takes a sentence for the log.
    """

    pipeline: Any
    most: int
    report: Callable[[str], None]
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _arrived: list[Conversation] = field(default_factory=list)
    _live: list[Conversation] = field(default_factory=list)
    _count: int = 0
    _closing: bool = False
    _asked: float = 0.0
    _leaving: deque[tuple[float, Conversation]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def take(self, conversation: Conversation) -> bool:
        """Takes in a conversation; False where there are too many."""
        with self._wake:
            if len(self._arrived) + len(self._live) >= self.most:
                return False
            self._arrived.append(conversation)
            self._wake.notify()
        return True

    def close(self) -> None:
        """Ends when every conversation has."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._take_in():
            failure = self._step()
            asks = time.monotonic() - self._asked >= WATCH_S
            self._live = self._hand_out(functools.partial(self._advance, failure=failure, asks=asks))
            self._asked = time.monotonic() if asks else self._asked
            self._see_off(time.monotonic())
        time.sleep(LEAVE_S if self._leaving else 0)
        self._see_off(math.inf)

    def _hand_out(self, advance: Callable[[Conversation], bool]) -> list[Conversation]:
        """Everyone gets what there is; those that have not ended. One that is stuck in that is given up."""
        waiting, live = self._live, list[Conversation]()
        while waiting:
            hands = Hands(advance, waiting)
            hands.start()
            hands.join(STUCK_S)
            kept, stuck, waiting = hands.let_go()
            live += kept
            if stuck is not None:
                stuck.stop()
                self.report(STUCK)
        return live

    def _advance(self, conversation: Conversation, *, failure: str, asks: bool) -> bool:
        """Hands out what there is of one; whether that was the end."""
        try:
            ends = conversation.fail(failure) if failure else conversation.advance(asks=asks)
        # The trouble of one is not that of the others.
        except Exception as error:  # noqa: BLE001
            self.report(f"a conversation failed: {type(error).__name__}: {error}")
            return conversation.fail(f"the conversation failed: {_brief(error)}. See the server's log.")
        if conversation.gone:
            self._leaving.append((time.monotonic() + LEAVE_S, conversation))
        return ends

    def _see_off(self, now: float) -> None:
        """Ends the requests of those who have been gone long enough."""
        while self._is_time(now):
            self._leaving.popleft()[1].listener.cancelled()

    def _take_in(self) -> bool:
        """Waits for work, or until it is time to see somebody off; False where there is none and will be none."""
        with self._wake:
            while not (self._arrived or self._live or self._closing or self._is_time(time.monotonic())):
                self._wake.wait(self._leaving[0][0] - time.monotonic() if self._leaving else None)
            arrived, self._arrived = self._arrived, []
            self._live += arrived
        for conversation in arrived:
            self._count += 1
            try:
                conversation.start(self.pipeline, self._count)
            except Exception as error:  # noqa: BLE001  # as in _step
                conversation.fail(f"the engine refuses the request: {_brief(error)}")
                self._live.remove(conversation)
        return bool(self._live) or not self._closing

    def _is_time(self, now: float) -> bool:
        """Whether somebody has been gone long enough."""
        return bool(self._leaving) and self._leaving[0][0] <= now

    def _step(self) -> str:
        """Computes the next token of every conversation; what went wrong, or nothing."""
        if not self._live:
            return ""
        try:
            self.pipeline.step()
        # Whatever the engine says, those who asked get an answer, and the next ones a chance.
        except Exception as error:  # noqa: BLE001
            self.report(f"the engine failed: {error}")
            return f"the engine failed: {_brief(error)}. See the server's log."
        return ""


def _brief(error: Exception) -> str:
    """The last line of what the engine says: before it stand places in its source."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
