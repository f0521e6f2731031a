"""Which tensor of config.pbtxt is which argument and output of a PyTorch model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backends.pytorch.naming import archive_places, argument_places, call_names, output_places

ARGUMENTS = ("ids", "mask")


def places(*inputs: str, more: tuple[str, ...] = (), controls: tuple[str, ...] = ()) -> dict[str, int]:
    """The places among ids, mask and, where there are more tensors, others."""
    arguments = [*ARGUMENTS, "third"][: len(inputs) + len(more) + len(controls)]
    return argument_places(inputs, more, controls, arguments, "1/model.pt")


def test_names_of_arguments_come_first() -> None:
    """In whatever order config.pbtxt has them."""
    assert places("mask", "ids") == {"mask": 1, "ids": 0}


def test_an_index_behind_the_name_comes_second() -> None:
    """Where one name is no argument, all are read by their index."""
    assert places("a__1", "b__0") == {"a__1": 1, "b__0": 0}


@pytest.mark.parametrize("names", [("a", "b"), ("mask", "b"), ("a__1", "b"), ("a__one", "b__0"), ("a__0__b", "c__1")])
def test_the_order_of_the_configuration_comes_last(names: tuple[str, str]) -> None:
    """One name that is neither makes the order count for all; only what stands behind the first __ is an index."""
    assert places(*names) == {names[0]: 0, names[1]: 1}


def test_batch_inputs_and_controls_have_places_too() -> None:
    """A batch_input follows the convention of the inputs; a control is named by its index."""
    assert places("ids", more=("mask",)) == {"ids": 0, "mask": 1}
    assert places("x", more=("ends",)) == {"x": 0, "ends": 1}
    assert places("x__1", controls=("START__0",)) == {"x__1": 1, "START__0": 0}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a__0", "b__0"), r"'a__0' 0, 'b__0' 0 of forward\(ids, mask\) in 1/model\.pt, expected each of 0 to 1 once"),
        (("a__0", "b__7"), "'b__7' 7"),
    ],
)
def test_places_that_are_taken_twice_or_not_there_are_refused(names: tuple[str, str], words: str) -> None:
    """The container would pass a wrong tensor, or write outside its list."""
    with pytest.raises(ModelLoadError, match=words):
        places(*names)


def test_what_batch_input_and_control_must_be_called() -> None:
    """A target that is no argument, and a control without an index."""
    with pytest.raises(ModelLoadError, match="'ends' none of forward"):
        places("ids", more=("ends",))
    with pytest.raises(ModelLoadError, match="sequence control 'START' is not named <name>__<index>"):
        places("x__0", controls=("START",))


def test_outputs_are_by_index_or_by_order() -> None:
    """Never by name, as outputs have none; several names may be one output."""
    assert output_places(["b__1", "a__0", "again__0"]) == {"b__1": 1, "a__0": 0, "again__0": 0}
    assert output_places(["b__1", "a"]) == {"b__1": 0, "a": 1}


def tensor() -> dict[str, Any]:
    """A leaf of a call specification."""
    return {"type": None, "context": None, "children_spec": []}


def branch(kind: str, *children: dict[str, Any], keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A node of a call specification."""
    return {"type": kind, "context": json.dumps(keys) if keys else "null", "children_spec": list(children)}


def spec(arguments: dict[str, Any], keywords: dict[str, Any], result: dict[str, Any]) -> list[str]:
    """The two texts that an archive has."""
    return [json.dumps([1, branch("builtins.tuple", arguments, keywords)]), json.dumps([1, result])]


NONE: dict[str, Any] = {"type": "builtins.dict", "context": "[]", "children_spec": []}


def test_an_archives_names_are_those_of_its_call() -> None:
    """Positions in brackets for tuples and lists, keys for dictionaries, depth first; one tensor is RESULT."""
    arguments = branch("builtins.tuple", tensor(), branch("builtins.list", tensor(), tensor()))
    keywords = branch("builtins.dict", tensor(), keys=("mask",))
    result = branch("builtins.dict", tensor(), branch("builtins.tuple", tensor()), keys=("logits", "more"))
    inputs, outputs = call_names(spec(arguments, keywords, result), "1/model.pt2")
    assert inputs == ["ARGS[0]", "ARGS[1][0]", "ARGS[1][1]", "KWARGS[mask]"]
    assert outputs == ["RESULT[logits]", "RESULT[more][0]"]
    assert call_names(spec(branch("builtins.tuple", tensor()), NONE, tensor()), "m")[1] == ["RESULT"]


def test_an_archives_tensors_have_two_names_each() -> None:
    """By the call, and by their place."""
    names = ["ARGS[0]", "KWARGS[mask]"]
    assert archive_places(["KWARGS[mask]", "INPUT__0"], names, "INPUT", "m") == {"KWARGS[mask]": 1, "INPUT__0": 0}
    with pytest.raises(
        ModelLoadError, match=r"lists input 'mask', and m has ARGS\[0\], KWARGS\[mask\], INPUT__0, INPUT__1"
    ):
        archive_places(["mask"], names, "INPUT", "m")


def test_what_is_no_tensor_in_an_archive_is_refused() -> None:
    """Another container than a tuple, a list or a dictionary; or a text that is no specification."""
    odd = branch("collections.OrderedDict", tensor(), keys=("a",))
    with pytest.raises(ModelLoadError, match=r"RESULT of m is a collections\.OrderedDict, expected tensors in tuples"):
        call_names(spec(branch("builtins.tuple"), NONE, odd), "m")
    with pytest.raises(ModelLoadError, match="m has a call specification that cannot be read"):
        call_names(["", ""], "m")
