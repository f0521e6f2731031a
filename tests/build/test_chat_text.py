"""What a conversation says, piece by piece, and how it is asked: the parts of the step that need no engine."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from modelyard_build.datasets import simple_questions
from modelyard_build.models.chat import figures
from modelyard_build.steps.chat_parts.chat_requests import InvalidRequest, decoded, messages_of, sampling_of
from modelyard_build.steps.chat_parts.chat_text import Spoken


def said(text: bytes, *stop: str, include: bool = False) -> tuple[list[str], bool]:
    """Each byte as a token: the pieces that are not empty, with what the end brings, and whether a stop string did."""
    spoken = Spoken(lambda token: bytes([token]), stop, include_stop=include)
    pieces = [spoken.push([token]) for token in text]
    pieces.append(spoken.end())
    return [piece for piece in pieces if piece], spoken.stopped


def test_characters_come_whole() -> None:
    """Half of one is held until the rest is there; what will never be one becomes U+FFFD."""
    assert said("aé😀b".encode()) == (["a", "é", "😀", "b"], False)
    assert said("é".encode()[:1]) == (["\ufffd"], False)
    assert "".join(said(b"a\xffb")[0]) == "a\ufffdb"


@pytest.mark.parametrize(
    ("text", "stop", "expected", "stopped"),
    [
        ("one two three", ["two"], "one ", True),
        ("one two three", ["three", "two"], "one ", True),
        ("one two", ["twofold"], "one two", False),
        ("aab", ["ab"], "a", True),
        ("ababac", ["abac"], "ab", True),
        ("stop", ["stop"], "", True),
        ("x\n\ny", ["\n\n"], "x", True),
        ("nothing", [], "nothing", False),
    ],
)
def test_a_stop_string_is_never_said(text: str, stop: list[str], expected: str, stopped: bool) -> None:
    """However its parts come; what only began like one is said in the end."""
    pieces, ended = said(text.encode(), *stop)
    assert ("".join(pieces), ended) == (expected, stopped)


def test_a_stop_string_is_said_where_it_is_wanted() -> None:
    """include_stop_str_in_output keeps it, and nothing after it."""
    assert "".join(said(b"one two three", "two", include=True)[0]) == "one two"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "is []; it is a JSON object"),
        ({"max_tokens": True}, "max_tokens is true; it is a whole number, 1 or more"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5"),
        ({"top_p": 0}, "top_p is 0; it is a number, above 0, at most 1"),
        ({"temperature": float("inf")}, "temperature is Infinity"),
        ({"seed": -1}, "seed is -1"),
        ({"stop": [""]}, 'stop is [""]; it is a text or a list'),
        ({"stop": ["x"] * 17}, "at most 16"),
        ({"stop": 3}, "stop is 3"),
        ({"ignore_eos": 1}, "ignore_eos is 1; it is true or false"),
        ({"n": 2}, "n is 2; there is one answer"),
        ({"logprobs": 5}, "without log probabilities"),
        ({"tempreature": 1}, "'tempreature' is not known; there are frequency_penalty"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(given: Any, words: str) -> None:
    """With its name, what it is, and what it may be."""
    with pytest.raises(InvalidRequest, match=re.escape(words)):
        sampling_of(given)


def test_parameters_are_the_engines() -> None:
    """Temperature 0 takes the likeliest token, whatever else is said; without one it is drawn, as vLLM does."""
    greedy = sampling_of({"temperature": 0, "top_p": 0.5, "top_k": 3, "repetition_penalty": 1.1, "n": 1})
    assert greedy.options == {"repetition_penalty": 1.1}
    drawn = sampling_of({"top_k": -1, "top_p": 0.5, "seed": 3, "max_tokens": 9, "stop": "x", "logprobs": False})
    assert drawn.options == {"do_sample": True, "temperature": 1.0, "top_p": 0.5}
    assert (drawn.seed, drawn.max_tokens, drawn.stop) == (3, 9, ("x",))


def test_messages_are_openais() -> None:
    """Texts, or lists of parts that are texts; a control token in one would speak in another's name."""
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert messages_of([{"role": "user", "content": parts}], []) == [{"role": "user", "content": "Hello"}]
    with pytest.raises(InvalidRequest, match=r"messages\[0\] has the content .*image"):
        messages_of([{"role": "user", "content": [{"type": "image"}]}], [])
    with pytest.raises(InvalidRequest, match=r"messages\[1\] contains <end>, which tells the model whose turn it is"):
        messages_of([{"role": "user", "content": "x"}, {"role": "user", "content": "a<end>b"}], ["<end>"])
    with pytest.raises(InvalidRequest, match="byte 1 of 2 is 0xff"):
        decoded(b"a\xff", "messages")


def test_a_question_is_right_where_the_word_stands_alone() -> None:
    """`4` is not in `42`; the case does not matter."""
    questions = list(simple_questions.QUESTIONS)
    asked = [questions.index("What is 2 plus 2?"), questions.index("What is the capital of France?")]
    texts = np.array([b"It is 42.", b"PARIS!"], np.object_).reshape(2, 1, 1)
    assert figures({"text_output": texts}, np.array(asked)) == {"simple questions right": 0.5}
