"""Paths and values as people write them on a command line."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard_build.repository.model_config import ModelConfig
from modelyard_build.repository.text_format.binding import Path, bind
from modelyard_build.repository.text_format.paths import into_only_field, resolve, shown, split, value_of
from modelyard_build.repository.text_format.syntax import parse

CONFIG = bind(
    parse(
        'input [ { name: "a" }, { name: "0" } ] instance_group { count: 1 } '
        'ensemble_scheduling { step { model_name: "s" } } '
        'parameters { key: "k.x" value { } } dynamic_batching { priority_queue_policy { key: 1 value { } } }'
    ),
    ModelConfig(),
).message


def path_of(text: str) -> Path:
    steps, rest = split(text)
    assert rest == ""
    return resolve(steps, CONFIG)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("max_batch_size", ("max_batch_size",)),
        ("dynamic_batching.max_queue_delay_microseconds", ("dynamic_batching", "max_queue_delay_microseconds")),
        ("input[0].dims", ("input", 0, "dims")),
        ("input[a].dims[2]", ("input", 0, "dims", 2)),
        ('input["a"].dims', ("input", 0, "dims")),
        ("input['0'].dims", ("input", 1, "dims")),
        ("input[ 2 ].name", ("input", 2, "name")),
        ("ensemble_scheduling.step[s].input_map[x]", ("ensemble_scheduling", "step", 0, "input_map", "x")),
        ('parameters["k.x"].string_value', ("parameters", "k.x", "string_value")),
        ("parameters[k.x]", ("parameters", "k.x")),
        (
            "dynamic_batching.priority_queue_policy[1].max_queue_size",
            ("dynamic_batching", "priority_queue_policy", 1, "max_queue_size"),
        ),
        ("sequence_batching.state[0].dims", ("sequence_batching", "state", 0, "dims")),
    ],
)
def test_a_path_leads_to_a_field(text: str, path: Path) -> None:
    """By names, by an index, by an element's name, by a key; quotes may be left out."""
    assert path_of(text) == path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch_sise", "Did you mean max_batch_size?"),
        ("max_queue_delay_microseconds", "It belongs in dynamic_batching"),
        ("dynamic_batching.max_batch_size", "It belongs in the config itself"),
        ("input.dims", "input is a list; write input[a].dims"),
        ("parameters.key", "parameters is a map; write parameters[k.x].key"),
        ("input[b].dims", "input has no element 'b'; it has a, 0"),
        ("instance_group[x].count", "instance_group has no element 'x'; it has no element with a name"),
        ("max_batch_size[0]", "max_batch_size has one value"),
        ("max_batch_size.x", "max_batch_size has no fields"),
        ("dynamic_batching.priority_queue_policy[x]", "are whole numbers, not 'x'"),
        ("[0]", "a field's name is expected at the start of '[0]'"),
        ("", "a field's name is expected"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_there_is(text: str, words: str) -> None:
    """With the name that may be meant, or where the field belongs."""
    with pytest.raises(LookupError) as caught:
        path_of(text)
    assert words in caught.value.args[0]


@given(st.text(alphabet="ab.[]\"'=0 {}"))
def test_any_text_is_split_or_refused(text: str) -> None:
    """Nothing is lost between the steps and the rest."""
    try:
        steps, rest = split(text)
    except LookupError:
        return
    assert steps
    assert text.endswith(rest)


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        (("max_batch_size",), " 0x10 ", 16),
        (("name",), "plain", "plain"),
        (("name",), "it's # no comment", "it's # no comment"),
        (("name",), "\"a\" 'b'", "ab"),
        (("name",), '""', ""),
        (("input", 0, "data_type"), "TYPE_FP32", 11),
        (("input", 0, "dims"), "-1, 8", [-1, 8]),
        (("input", 0, "dims"), "[ ]", []),
        (("input", 0, "dims", 1), "5", 5),
        (("metric_tags", "a"), "b c", "b c"),
        (("response_cache", "enable"), "true", True),
    ],
)
def test_a_value_is_of_its_field(path: Path, text: str, value: Any) -> None:
    """In text format; a string's quotes and a list's brackets may be left out."""
    found = value_of(ModelConfig.DESCRIPTOR, path, text)
    assert (list(found) if isinstance(value, list) else found) == value


def test_a_message_is_a_value_too() -> None:
    """One, or a list of them, or entries of a map."""
    root = ModelConfig.DESCRIPTOR
    assert value_of(root, ("version_policy",), "{ latest { num_versions: 2 } }").latest.num_versions == 2
    assert [group.count for group in value_of(root, ("instance_group",), "[ {count: 1}, {count: 2} ]")] == [1, 2]
    assert value_of(root, ("instance_group", 0), "{ count: 3 }").count == 3
    assert value_of(root, ("parameters", "k"), "{ string_value: 'v' }").string_value == "v"


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (("max_batch_size",), "x", "max_batch_size is a whole number, not x"),
        (("max_batch_size",), "99999999999", "is outside"),
        (("max_batch_size",), "1 name: 'x'", "'name' stands behind the value"),
        (("max_batch_size",), "", "expected"),
        (("input", 0, "data_type"), "FP32", "Did you mean TYPE_FP32?"),
        (("input", 0, "dims", 0), "1, 2", "one value is expected, not 2"),
        (("version_policy",), "{ latest { num: 1 } }", "has no field 'num'"),
        (("response_cache", "enable"), "yes", "enable is true or false, not yes"),
    ],
)
def test_a_value_that_does_not_fit_says_why(path: Path, text: str, words: str) -> None:
    """In the words of lint."""
    with pytest.raises(ValueError, match=re.escape(words)):
        value_of(ModelConfig.DESCRIPTOR, path, text)


def test_a_parameter_is_its_only_field() -> None:
    """`parameters[KEY]=VALUE` means its string; what has several fields means itself."""
    root = ModelConfig.DESCRIPTOR
    assert into_only_field(root, ("parameters", "k")) == ("parameters", "k", "string_value")
    assert into_only_field(root, ("parameters",)) == ("parameters",)
    assert into_only_field(root, ("dynamic_batching",)) == ("dynamic_batching",)
    assert into_only_field(root, ("max_batch_size",)) == ("max_batch_size",)


def test_a_path_is_shown_as_it_is_written() -> None:
    """Names with dots; indices and the keys of maps in brackets."""
    root = ModelConfig.DESCRIPTOR
    assert shown(root, ("input", 0, "dims")) == "input[0].dims"
    assert shown(root, ("parameters", "a.b", "string_value")) == "parameters[a.b].string_value"
