"""What a conversation says: tokens to text, piece by piece. Standard library only."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence


class Spoken:
    """Tokens to text, piece by piece: whole characters only, and nothing that may turn out to be a stop string.

    Args:
        spelled: the bytes of a token; none for one that is not said.
        stop: texts that end the answer.
        include_stop: whether the text that ended it is part of the answer.
    """

    def __init__(
        self, spelled: Callable[[int], bytes], stop: Sequence[str] = (), *, include_stop: bool = False
    ) -> None:
        self._spelled = spelled
        self._stop = stop
        self._include_stop = include_stop
        # What is no UTF-8 becomes U+FFFD, as everywhere.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def push(self, tokens: Sequence[int]) -> str:
        """What can be said after further tokens; see `stopped` for whether they ended the answer."""
        return self._released(self._decoder.decode(b"".join(self._spelled(token) for token in tokens)))

    def end(self) -> str:
        """What is left where the answer ends here."""
        said = self._released(self._decoder.decode(b"", final=True))
        rest, self._held = ("" if self.stopped else self._held), ""
        return said + rest

    def _released(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [(at, stop) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            at, stop = min(found)
            self.stopped = True
            return self._held[: at + len(stop) * self._include_stop]
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        said, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return said


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of a text with which a stop string begins."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
