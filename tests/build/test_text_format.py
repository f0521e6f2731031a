"""The text format: every byte kept, the same message as protobuf's own parsers read, and nothing that breaks it."""

from __future__ import annotations

import random
import time

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard_build.repository.model_config import ModelConfig
from modelyard_build.repository.text_format.binding import Bound, bind
from modelyard_build.repository.text_format.strings import quoted, unescaped
from modelyard_build.repository.text_format.syntax import Field, Listing, Message, parse
from modelyard_build.repository.text_format.tokens import END, tokens
from support.text_formats import random_config, written

chances = st.integers(0, 2**64).map(random.Random)
BOUND_S = 5.0


def read(text: str | bytes) -> Bound:
    """A text bound to a config."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return bind(parse(text), ModelConfig())


def printed(text: str) -> str:
    """A text put together again from its tokens."""
    found = list(tokens(text))
    assert found[-1].kind == END
    return "".join(text[token.before : token.start] + token.text for token in found)


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(alphabet="{}<>[]:;,#\"'\\ \n\r\tax0.-", max_size=200))
def test_any_text_is_printed_as_it_was_read(text: str) -> None:
    """Valid or not, the tokens tile the text."""
    assert printed(text) == text


@settings(max_examples=200, deadline=None)
@given(st.binary())
def test_any_bytes_are_printed_as_they_were_read(content: bytes) -> None:
    """What is not UTF-8 is kept too."""
    text = content.decode("utf-8", "surrogateescape")
    assert printed(text).encode("utf-8", "surrogateescape") == content
    read(text)


@settings(max_examples=200, deadline=None)
@given(chances)
def test_however_it_is_written_it_is_the_same_message(chance: random.Random) -> None:
    """Lists, brackets, separators, comments, string pieces, escapes, number bases, line ends: all mean the message."""
    config = random_config(chance)
    text = written(config, chance)
    bound = read(text)
    assert bound.problems == []
    assert bound.message == config
    assert text_format.Parse(text, ModelConfig()) == config
    assert printed(text) == text


@settings(max_examples=100, deadline=None)
@given(chances)
def test_every_field_knows_its_place(chance: random.Random) -> None:
    """A place's text is the field's name and value, and inside of the place of the message around it."""
    text = written(random_config(chance), chance)
    for path, place in read(text).places.items():
        stated = place.field
        assert text[stated.name_start : stated.name_end] == stated.name
        assert stated.name_end <= place.value.start < place.value.end <= stated.end
        names = [step for step in path if isinstance(step, str)]
        assert stated.name in names


def deepest(fields: list[Field]) -> int:
    inner = [
        deepest(value.fields)
        for field in fields
        for value in (field.value.items if isinstance(field.value, Listing) else [field.value])
        if isinstance(value, Message)
    ]
    return 1 + max(inner, default=0)


# What the C++ parser says to what people and tools get wrong; taken from libprotoc 3.21.12, which is in Triton 2.51.
ACCEPTED = [
    "max_batch_size: 0 max_batch_size: 8",
    'name: "" name: "x"',
    "input { data_type: TYPE_INVALID data_type: TYPE_INT8 }",
    "max_batch_size: - 5",
    "max_batch_size: 010",
    "max_batch_size: 0x10",
    "max_batch_size: -0",
    "model_transaction_policy { decoupled: 01 }",
    "model_transaction_policy { decoupled: 0x1 }",
    "model_transaction_policy { decoupled: t }",
    "input { dims: [] }",
    "input []",
    "input: [ { dims: 1 }, < dims: [ 2, 3 ] dims: 4 > ];",
    "input { data_type: 99 }",
    "input { data_type: -5 }",
    'name: "a" \'b\' # why\n "c"',
    r'name: "\?\u00e9\U0010ffff\ud83d\ude00\x4"',
    r'name: "\U0011ffff"',
    "sequence_batching { direct { minimum_slot_utilization: 0f } }",
    "sequence_batching { direct { minimum_slot_utilization: 5. } }",
    "sequence_batching { direct { minimum_slot_utilization: -Infinity } }",
    "sequence_batching { direct { minimum_slot_utilization: 1e400 } }",
    f"sequence_batching {{ direct {{ minimum_slot_utilization: 1{'0' * 5000} }} }}",
    f"max_batch_size: 0x{'0' * 5000}5",
    "version_policy: { latest: { num_versions: 1 } };",
    'parameters { key: "a" value { string_value: "1" } } parameters { key: "a" value { string_value: "2" } }',
    'parameters [ { key: "a" value: { } }, { value { string_value: "2" } } ]',
    'name: "x"max_batch_size: 5',
    "max_batch_size:\v5\f# \x01\n",
    "",
]
REFUSED = [
    'name: "x" name: ""',
    "max_batch_size: 8 max_batch_size: 0",
    "max_batch_size: 08",
    "max_batch_size: 1e1",
    "max_batch_size: 1f",
    "max_batch_size: +1",
    "max_batch_size: 2147483648",
    f"max_batch_size: 1{'0' * 5000}",
    "max_batch_size: 5name: 'x'",
    "max_batch_size: []",
    "max_batch_size { }",
    "dynamic_batching { max_queue_delay_microseconds: -0 }",
    "dynamic_batching { max_queue_delay_microseconds: 18446744073709551616 }",
    "model_transaction_policy { decoupled: 10 }",
    "model_transaction_policy { decoupled: -true }",
    "model_transaction_policy { decoupled: TRUE }",
    "input { data_type: -TYPE_FP32 }",
    'input { data_type: "TYPE_FP32" }',
    "input { dims [] }",
    "input { dims [ 1 ] }",
    "input { dims: [ 1, ] }",
    "input { dims: [ 1 2 ] }",
    "input { dims: [ [ 1 ] ] }",
    "input [ { }; { } ]",
    "input [ { }, ]",
    "input { dims: 1,, }",
    "input < }",
    ";",
    "sequence_batching { direct { minimum_slot_utilization: 00.5 } }",
    "sequence_batching { direct { minimum_slot_utilization: 0x1 } }",
    "sequence_batching { direct { minimum_slot_utilization: 01 } }",
    "sequence_batching { direct { minimum_slot_utilization: inff } }",
    r'name: "\q"',
    r'name: "\X41"',
    r'name: "\U00200000"',
    'name: "a\nb"',
    'name: "a\\\nb"',
    'name: "\0"',
    'name: "x" # \0',
    "name:\x01'x'",
    "name\u00a0: 'x'",
    "\ufeffname: 'x'",
    "version_policy { latest { } all { } }",
    "version_policy { latest { } latest { } }",
    "dynamic_batching { } dynamic_batching { }",
    "version_policy [ { latest { } } ]",
    'parameters { key: "a" key: "b" }',
    'parameters { key: "" key: "b" }',
    'parameters { key: [ "a" ] }',
    "parameters { foo: 1 }",
    'parameters { key: "a" value: "b" }',
    "[a.b]: 5",
    "[a.b/c] { }",
    "Name: 'x'",
    "1: 'x'",
    "name:: 'x'",
    "// why\n",
    "/* why */",
    "}",
    "input {",
    "name: 'x",
]
# Where Python's parser says otherwise. By ours the C++ one is right: it is the one in the server.
ONLY_CPP_ACCEPTS = {
    "max_batch_size: - 5": "a space after the minus",
    "model_transaction_policy { decoupled: 01 }": "other forms of 0 and 1",
    "model_transaction_policy { decoupled: 0x1 }": "other forms of 0 and 1",
    r'name: "\?\u00e9\U0010ffff\ud83d\ude00\x4"': "a pair of surrogates",
    r'name: "\U0011ffff"': "a number that is no character stays as it is written",
}
ONLY_PYTHON_ACCEPTS = {
    "max_batch_size: +1": "a plus",
    "dynamic_batching { max_queue_delay_microseconds: -0 }": "a minus before an unsigned 0",
    r'name: "\q"': "any character behind a backslash",
    r'name: "\X41"': "a capital X",
    'name: "\0"': "NUL",
    'name: "x" # \0': "NUL",
    "name\u00a0: 'x'": "any white space of Unicode",
    "sequence_batching { direct { minimum_slot_utilization: inff } }": "an f behind inf",
    'parameters { key: "" key: "b" }': "a key stated twice",
}


@pytest.mark.parametrize("text", ACCEPTED, ids=lambda text: text[:40])
def test_what_the_server_takes_is_taken(text: str) -> None:
    """The forms that look wrong and are not."""
    assert read(text).problems == []


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:40])
def test_what_the_server_refuses_is_refused(text: str) -> None:
    """With one problem at least, inside of the text."""
    problems = read(text).problems
    assert problems
    assert all(0 <= problem.start <= problem.end <= len(text) for problem in problems)


def python_accepts(text: str) -> bool:
    """What protobuf's parser in Python says."""
    try:
        text_format.Parse(text, ModelConfig())
    except (text_format.ParseError, ValueError):
        return False
    return True


@pytest.mark.parametrize("text", [*ACCEPTED, *REFUSED], ids=lambda text: text[:40])
def test_python_s_parser_differs_in_what_is_listed_alone(text: str) -> None:
    """Every difference has a reason, and no reason is left over."""
    accepted = text in ACCEPTED
    assert python_accepts(text) is ((accepted and text not in ONLY_CPP_ACCEPTS) or text in ONLY_PYTHON_ACCEPTS)


@pytest.mark.parametrize("text", [r'name: "\777"', r'name: "\ud83d"', b'name: "\xff"'])
def test_a_string_that_is_no_text_is_lost(text: str | bytes) -> None:
    """Triton's parser takes it, and the string is empty in the config that it makes: told, and no problem."""
    bound = read(text)
    assert bound.problems == []
    assert [problem.message for problem in bound.lost] == [
        "name is not UTF-8 at its byte 0; Triton reads an empty string"
    ]
    assert bound.message.name == ""


FRAGMENTS = [
    *"{}<>[]:;,-",
    "#",
    "\n",
    '"',
    "'",
    "0",
    "7",
    "name",
    "input",
    "dims",
    "true",
    '"x"',
    "TYPE_FP32",
    "[]",
    "{}",
    "[1,2]",
]


@settings(max_examples=300, deadline=None)
@given(chances)
def test_mutated_texts_are_taken_where_protobuf_takes_them(chance: random.Random) -> None:
    """One to three words of a config dropped, or replaced by others that both parsers know."""
    text = written(random_config(chance, 0.15), chance)
    words = [text[token.before : token.end] for token in tokens(text)]
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = chance.randrange(len(words) + 1)
        words[at : at + chance.choice([0, 1])] = [f" {chance.choice(FRAGMENTS)} " for _ in range(chance.choice([0, 1]))]
    mutated = "".join(words)
    bound = read(mutated)
    accepted = python_accepts(mutated)
    if accepted and not bound.problems:
        assert bound.message == text_format.Parse(mutated, ModelConfig())
    elif accepted is bool(bound.problems):
        assert [reason for reason in known_differences(mutated, bound) if reason], mutated


def known_differences(text: str, bound: Bound) -> list[str]:
    """Why Python's parser may say otherwise to a text."""
    messages = " ".join(problem.message for problem in bound.problems)
    return [
        "a space after the minus"
        if "- " in text or "-\n" in text or "-\r" in text or "-\t" in text or "-#" in text
        else "",
        "a minus before an unsigned 0" if "without a minus" in messages else "",
        "a key or value stated twice in an entry" if "is stated twice" in messages else "",
        "other forms of 0 and 1" if "decoupled" in text else "",
    ]


HOSTILE = {
    "opening braces": "{" * (4 << 20),
    "open messages": "input {" * (1 << 19),
    "open lists": "input: [" * (1 << 19),
    "quotes": '"' * (4 << 20) + "'",
    "backslashes in an open string": 'name: "' + "\\" * ((4 << 20) + 1),
    "open strings": "\"\\'" * (1 << 20),
    "one long word": "a" * (4 << 20),
    "a long number": "max_batch_size: " + "9" * (4 << 20),
    "a long octal number": "max_batch_size: 0" + "7" * (4 << 20),
    "a long float": "sequence_batching { direct { minimum_slot_utilization: 1" + "0" * (1 << 20) + " } }",
    "comments": "#\n" * (2 << 20),
    "blank lines": "\n" * (4 << 20),
    "unknown fields": "a:1 " * (1 << 18),
    "the same key": 'parameters { key: "a" value { } } ' * 20_000,
    "many keys, stated twice": "".join(f'parameters {{ key: "{n}" value {{ }} }}\n' for n in range(10_000)) * 2,
    "many dims": "input { dims: [" + "1," * (1 << 18) + "1] }",
    "NUL bytes": "\0" * (4 << 20),
    "garbage": random.Random(7).randbytes(1 << 20).decode("utf-8", "surrogateescape"),  # noqa: S311
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_texts_are_read_in_bounded_time(text: str) -> None:
    """Four megabytes of anything: no exception, no endless wait, and no more problems than anybody reads."""
    started = time.process_time()
    assert len(read(text).problems) <= 101
    assert time.process_time() - started < BOUND_S


@pytest.mark.parametrize("name", ["opening braces", "open strings", "quotes", "garbage", "comments", "NUL bytes"])
def test_hostile_texts_are_printed_in_bounded_time(name: str) -> None:
    """The tokens of what is no text format come as fast as others."""
    text = HOSTILE[name][: 1 << 20]
    started = time.process_time()
    assert printed(text) == text
    assert time.process_time() - started < BOUND_S


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from("'\""))
def test_a_quoted_string_is_read_back(text: str, quote: str) -> None:
    """Whatever it contains, on one line."""
    shown = quoted(text, quote)
    assert unescaped(shown[1:-1]) == text.encode()
    assert read(f"name: {shown}").message.name == text
