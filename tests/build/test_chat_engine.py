"""The engine's thread of `chat`, over the real engine and a small model: what is one conversation's trouble alone."""

from __future__ import annotations

import json

from support.child import run_python

FAILED = "the conversation failed: {}. See the server's log."


def test_the_trouble_of_one_is_not_that_of_the_others() -> None:
    """It ends; who asks beside it and after it gets every token, and the log says what it was."""
    done = run_python("-m", "support.chat_troubles")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: each["end"] for name, each in found["outcomes"].items()} == {
        "breaks": FAILED.format("no room for a response"),
        "unknown": FAILED.format("no such request"),
        "leaves": "cancelled",
        "sticks": "stuck",
        "dawdles": "Triton took a response after more than 0.5 s; nobody waited for that.",
    }
    failures, stuck = found["reports"][:2], found["reports"][2:]
    assert failures == [
        "a conversation failed: MemoryError: no room for a response",
        "a conversation failed: RuntimeError: no such request",
    ]
    assert len(stuck) == 2
    assert all("Triton has not taken a response" in each and "Restart the server" in each for each in stuck)
    for each in found["outcomes"].values():
        assert each["others"] == [["length", "x" * 200]] * 3
