"""Edits of a config's text: the message becomes what was asked for, and what was not meant stays as it is."""

from __future__ import annotations

import random
import re

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard_build.repository.model_config import ModelConfig, model_config_pb2
from modelyard_build.repository.text_format.binding import Path
from modelyard_build.repository.text_format.edit import Editor
from modelyard_build.repository.text_format.splice import Edit, splice
from modelyard_build.repository.text_format.syntax import Scalar
from modelyard_build.repository.text_format.tokens import tokens
from support.text_formats import random_config, written

chances = st.integers(0, 2**64).map(random.Random)
FP32, INT64 = model_config_pb2.TYPE_FP32, model_config_pb2.TYPE_INT64
NEW_INPUT = model_config_pb2.ModelInput(name="new", data_type=FP32, dims=[3])


def comments(text: str) -> list[str]:
    """The comments of a text, in order."""
    return re.findall(r"#[^\n]*", "\n".join(text[token.before : token.start] for token in tokens(text)))


@settings(max_examples=200, deadline=None)
@given(chances)
def test_a_text_becomes_any_other_message(chance: random.Random) -> None:
    """From whatever is written, to whatever is asked for, by edits alone; protobuf reads the same in it."""
    editor = Editor(written(random_config(chance, 0.15), chance), ModelConfig)
    target = random_config(chance, 0.15)
    editor.conform(target)
    assert editor.message == target
    assert text_format.Parse(editor.text, ModelConfig()) == target


@settings(max_examples=200, deadline=None)
@given(chances)
def test_one_scalar_costs_its_own_characters_alone(chance: random.Random) -> None:
    """Everything outside of the value, comments included, is byte for byte what it was."""
    text = written(random_config(chance), chance)
    editor = Editor(text, ModelConfig)
    scalars = [
        path for path, place in editor.places.items() if isinstance(place.value, Scalar) and is_one(editor, path)
    ]
    if not scalars:
        return
    path = chance.choice(sorted(scalars, key=str))
    place = editor.places[path].value
    value = other_value(editor.at(owner(path)))
    editor.assign(owner(path), value)
    tail = len(text) - place.end
    assert editor.text[: place.start] == text[: place.start]
    assert editor.text[len(editor.text) - tail :] == text[place.end :]
    assert editor.at(owner(path)) == value


def owner(path: Path) -> Path:
    """The path by which a scalar is assigned: an entry of a map of scalars for its value part."""
    return path[:-1] if path[-1] == "value" else path


def is_one(editor: Editor, path: Path) -> bool:
    """Whether a path is of one value, and not of a repeated field or of a key."""
    return path[-1] != "key" and type(editor.at(owner(path))) in (bool, str, int, float)


def other_value(now: object) -> object:
    """Another value of the same type."""
    if isinstance(now, bool):
        return not now
    if isinstance(now, str):
        return now + "'\"\\\n#"
    return 3 if isinstance(now, int) else 0.25


@settings(max_examples=200, deadline=None)
@given(chances)
def test_what_is_added_costs_nothing_that_was_there(chance: random.Random) -> None:
    """An element, an entry or a field is put in: the old text is left when the new characters are taken away."""
    text = written(random_config(chance, 0.15), chance)
    editor = Editor(text, ModelConfig)
    add = chance.choice(ADDITIONS)
    add(editor, chance)
    assert is_subsequence(text, editor.text)
    assert comments(editor.text) == comments(text)


def _input(editor: Editor, chance: random.Random) -> None:
    count = len(editor.message.input)
    editor.insert(("input",), chance.randrange(count + 1), NEW_INPUT)


def _dim(editor: Editor, chance: random.Random) -> None:
    editor.insert(("output", 0, "dims") if editor.message.output else ("input", 0, "dims"), 0, 7)


def _parameter(editor: Editor, chance: random.Random) -> None:
    editor.assign(("parameters", "an unheard-of key", "string_value"), "1")


def _tag(editor: Editor, chance: random.Random) -> None:
    editor.assign(("metric_tags", "an unheard-of key"), "1")


def _cache(editor: Editor, chance: random.Random) -> None:
    editor.assign(("model_transaction_policy", "decoupled"), True) if not editor.message.HasField(
        "model_transaction_policy"
    ) else _tag(editor, chance)


ADDITIONS = [_input, _dim, _parameter, _tag, _cache]


def is_subsequence(short: str, long: str) -> bool:
    rest = iter(long)
    return all(character in rest for character in short)


@settings(max_examples=200, deadline=None)
@given(chances)
def test_what_is_removed_takes_no_other_comment_along(chance: random.Random) -> None:
    """A field goes with what is inside of it and what trails it; the other fields and their comments stay."""
    config = random_config(chance, 0.15)
    text = written(config, chance)
    editor = Editor(text, ModelConfig)
    stated = sorted({path[:1] for path in editor.places}, key=str)
    if not stated:
        return
    (name,) = chance.choice(stated)
    editor.remove((name,))
    config.ClearField(name)
    assert editor.message == config
    assert is_subsequence(editor.text, text)


MULTI_LINE = """\
# The head.
backend: "onnxruntime" # of NVIDIA

max_batch_size: 8
input [
  { name: "a", data_type: TYPE_INT64, dims: [ -1 ] }, # the tokens
  # The mask.
  { name: "b", data_type: TYPE_INT64, dims: [ -1 ] }
]
dynamic_batching {
  # Waits for company.
  max_queue_delay_microseconds: 100 # not more
}
# The end.
"""
CASES: dict[str, tuple[str, Path, object, str]] = {
    "a scalar": ("max_batch_size: 8", ("max_batch_size",), 4, "max_batch_size: 4"),
    "an enum's name": (
        "input { data_type: TYPE_FP32 }",
        ("input", 0, "data_type"),
        INT64,
        "input { data_type: TYPE_INT64 }",
    ),
    "an enum's number": ("input { data_type: 11 }", ("input", 0, "data_type"), INT64, "input { data_type: 9 }"),
    "an apostrophe": ("name: 'a'", ("name",), "b", "name: 'b'"),
    "pieces": ("name: 'a' # one\n 'b'", ("name",), "c", "name: 'c'"),
    "a bool's form": (
        "model_transaction_policy { decoupled: False }",
        ("model_transaction_policy", "decoupled"),
        True,
        "model_transaction_policy { decoupled: True }",
    ),
    "a list": ("input { dims: [1,2] }", ("input", 0, "dims"), [1, 3, 4], "input { dims: [1,3, 4] }"),
    "repeated fields": (
        "input { dims: 1 dims: 2 }",
        ("input", 0, "dims"),
        [1, 3, 4],
        "input { dims: 1 dims: 3 dims: 4 }",
    ),
    "a list that grows from nothing": ("input { dims: [] }", ("input", 0, "dims"), [1], "input { dims: [ 1 ] }"),
    "a list that goes": ("input { name: 'x', dims: [ 1 ] }", ("input", 0, "dims"), [], "input { name: 'x' }"),
    "angle brackets": ("input < name: 'x' >", ("input", 1, "name"), "y", "input < name: 'x' >\ninput < name: 'y' >"),
    "semicolons": (
        "input { name: 'x'; dims: 1; }",
        ("input", 0, "data_type"),
        FP32,
        "input { name: 'x'; dims: 1; data_type: TYPE_FP32; }",
    ),
    "no final newline": (
        "name: 'x'\nmax_batch_size: 1",
        ("backend",),
        "b",
        "name: 'x'\nmax_batch_size: 1\nbackend: 'b'",
    ),
    "carriage returns": (
        "name: 'x' # why\r\nmax_batch_size: 1\r\n",
        ("backend",),
        "b",
        "name: 'x' # why\r\nmax_batch_size: 1\r\nbackend: 'b'\r\n",
    ),
    "tabs": (
        "dynamic_batching {\n\tpreserve_ordering: true\n}\n",
        ("dynamic_batching", "priority_levels"),
        2,
        "dynamic_batching {\n\tpreserve_ordering: true\n\tpriority_levels: 2\n}\n",
    ),
    "a colon before a brace": (
        "version_policy: { all: {} }\n",
        ("response_cache", "enable"),
        True,
        "version_policy: { all: {} }\nresponse_cache: {\n  enable: true\n}\n",
    ),
    "an empty message": (
        "dynamic_batching {}\n",
        ("dynamic_batching", "priority_levels"),
        2,
        "dynamic_batching { priority_levels: 2 }\n",
    ),
    "a message of a comment": (
        "dynamic_batching {\n  # why\n}\n",
        ("dynamic_batching", "priority_levels"),
        2,
        "dynamic_batching {\n  # why\n  priority_levels: 2\n}\n",
    ),
    "an empty text": ("", ("max_batch_size",), 2, "max_batch_size: 2\n"),
    "a text of a comment": ("# why", ("max_batch_size",), 2, "# why\nmax_batch_size: 2"),
    "an entry of a map": (
        'parameters { key: "a" value { string_value: "1" } }\n',
        ("parameters", "b", "string_value"),
        "2",
        'parameters { key: "a" value { string_value: "1" } }\nparameters { key: "b" value { string_value: "2" } }\n',
    ),
    "an entry in a list": (
        'parameters [ { key: "a" value: { string_value: "1" } } ]\n',
        ("parameters", "b", "string_value"),
        "2",
        'parameters [ { key: "a" value: { string_value: "1" } }, { key: "b" value: { string_value: "2" } } ]\n',
    ),
    "an entry without a value": (
        'parameters { key: "a" }',
        ("parameters", "a", "string_value"),
        "2",
        'parameters { key: "a", value { string_value: "2" } }',
    ),
    "a key that is stated twice": (
        'metric_tags { key: "a" value: "1" } metric_tags { key: "a" value: "2" }',
        ("metric_tags", "a"),
        "3",
        'metric_tags { key: "a" value: "1" } metric_tags { key: "a" value: "3" }',
    ),
    "the other of two": (
        "version_policy { latest { num_versions: 2 } }",
        ("version_policy", "specific", "versions"),
        [3],
        "version_policy { specific { versions: [ 3 ] } }",
    ),
    "a default is stated where it was not": ("name: 'x'\n", ("max_batch_size",), 0, "name: 'x'\nmax_batch_size: 0\n"),
}


@pytest.mark.parametrize(("text", "path", "value", "expected"), CASES.values(), ids=CASES.keys())
def test_what_is_written_has_its_neighbours_style(text: str, path: Path, value: object, expected: str) -> None:
    """Quotes, brackets, colons, separators, indentation and line ends are those that stand there."""
    editor = Editor(text, ModelConfig)
    editor.assign(path, value)
    assert editor.text == expected


REMOVALS: dict[str, tuple[Path, str, str]] = {
    "with the comment that trails it": (
        ("input", 0),
        '  { name: "a", data_type: TYPE_INT64, dims: [ -1 ] }, # the tokens\n',
        "",
    ),
    "the last of a list with the comma before it": (
        ("input", 1),
        '}, # the tokens\n  # The mask.\n  { name: "b", data_type: TYPE_INT64, dims: [ -1 ] }\n',
        "} # the tokens\n  # The mask.\n",
    ),
    "a line": (("max_batch_size",), "max_batch_size: 8\n", ""),
    "the first line with its comment": (("backend",), 'backend: "onnxruntime" # of NVIDIA\n', ""),
    "a message with what is in it": (
        ("dynamic_batching",),
        MULTI_LINE[MULTI_LINE.index("dynamic") : MULTI_LINE.index("# The end")],
        "",
    ),
    "a field on a line with others": (("input", 1, "data_type"), '"b", data_type: TYPE_INT64, dims', '"b", dims'),
    "the last field on a line with others": (("input", 0, "dims"), ", dims: [ -1 ] }, # the", " }, # the"),
    "what is not stated": (("response_cache",), "", ""),
}


@pytest.mark.parametrize(("path", "gone", "instead"), REMOVALS.values(), ids=REMOVALS.keys())
def test_what_is_removed_leaves_no_trace(path: Path, gone: str, instead: str) -> None:
    """No empty line, no comma too many; comments above other things stay."""
    assert gone in MULTI_LINE
    editor = Editor(MULTI_LINE, ModelConfig)
    editor.remove(path)
    assert editor.text == MULTI_LINE.replace(gone, instead, 1)


def test_a_new_element_goes_above_the_comment_of_the_one_behind_it() -> None:
    """A comment keeps describing what it described."""
    editor = Editor(MULTI_LINE, ModelConfig)
    editor.insert(("input",), 1, NEW_INPUT)
    line = '  { name: "new", data_type: TYPE_FP32, dims: [ 3 ] },\n'
    assert editor.text == MULTI_LINE.replace("  # The mask.", f"{line}  # The mask.")
    editor = Editor(MULTI_LINE.replace("input [\n", "input [\n  # First.\n"), ModelConfig)
    editor.insert(("input",), 0, NEW_INPUT)
    assert f"input [\n{line}  # First.\n" in editor.text


def test_an_element_that_is_called_otherwise_keeps_its_comments() -> None:
    """A renamed input is edited in place; the others are recognised by their names."""
    editor = Editor(MULTI_LINE, ModelConfig)
    target = ModelConfig()
    target.CopyFrom(editor.message)
    target.input[1].name = "mask"
    target.input[0].dims[:] = [5]
    editor.conform(target)
    assert editor.text == MULTI_LINE.replace('"b"', '"mask"').replace("[ -1 ]", "[ 5 ]", 1)


def test_an_entry_that_has_another_key_keeps_its_place_and_comment() -> None:
    """One key for another is a rename; where their numbers differ nobody knows which became which."""
    text = 'metric_tags { key: "a" value: "1" } # why\nmetric_tags { key: "b" value: "2" }\n'
    editor = Editor(text, ModelConfig)
    editor.assign(("metric_tags",), {"c": "1", "b": "3"})
    assert editor.text == text.replace('"a"', '"c"').replace('"2"', '"3"')
    editor = Editor(text, ModelConfig)
    editor.assign(("metric_tags",), {"c": "1"})
    assert editor.text == 'metric_tags { key: "c", value: "1" }\n'


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("max_batch_sise",), "ModelConfig has no field 'max_batch_sise'"),
        (("max_batch_size", "x"), "has no field 'x'"),
        (("input", 5, "name"), "input has 2 elements, so [5] is beyond its end"),
        (("dynamic_batching", 0), "ModelDynamicBatching has no field 0"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path: Path, words: str) -> None:
    """The sentence says where it ends; the text stays."""
    editor = Editor(MULTI_LINE, ModelConfig)
    with pytest.raises(LookupError, match=re.escape(words)):
        editor.assign(path, "1")
    assert editor.text == MULTI_LINE


def test_a_text_that_cannot_be_read_is_not_edited() -> None:
    """Line, column and why."""
    with pytest.raises(ValueError, match="1:17: max_batch_size is a whole number"):
        Editor("max_batch_size: x", ModelConfig)


def test_splices_that_overlap_are_refused() -> None:
    """Both places are those of the old text, so they cannot both be made."""
    assert splice("abcd", [Edit(2, 3, "X"), Edit(0, 1, "Y"), Edit(4, 4, "Z")]) == "YbXdZ"
    with pytest.raises(ValueError, match="overlaps another"):
        splice("abcd", [Edit(0, 2, ""), Edit(1, 3, "")])
    with pytest.raises(ValueError, match="outside of the text"):
        splice("abcd", [Edit(3, 5, "")])
