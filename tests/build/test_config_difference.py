"""Two configs side by side: what they say, not how they write it."""

from __future__ import annotations

from pathlib import Path

from modelyard_build.repository.config_difference import Difference, Side, differences
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Config, Model, Repository


def config(folder: Path, name: str, text: str) -> Config:
    """A config of the model `m`."""
    path = folder / "m" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Config(Model(Repository(folder, Settings()), folder / "m"), path)


def compared(folder: Path, one: str, other: str) -> list[Difference]:
    return differences(config(folder, "config.pbtxt", one), config(folder, "other.pbtxt", other))


def test_form_order_and_comments_are_no_difference(tmp_path: Path) -> None:
    """Lists, brackets, number bases, a default that is written out."""
    one = 'name: "m" input { name: "a" dims: 1 dims: 2 } parameters { key: "k" value { string_value: "v" } }'
    other = (
        "max_batch_size: 0 # the default\n"
        "parameters [ < key: 'k' value: < string_value: 'v' > > ]\n"
        "input: [ { dims: [ 0x1, 02 ]; name: 'a' } ]\nname: 'm'"
    )
    assert compared(tmp_path, one, other) == []


def test_what_differs_has_both_values_and_lines(tmp_path: Path) -> None:
    """Scalars, lists, what one side does not say, messages without fields."""
    one = 'max_batch_size: 8\ninput {\n  name: "a"\n  dims: [ 1 ]\n}\nresponse_cache { enable: true }\n'
    other = 'input {\n  name: "a"\n  dims: [ 1, 2 ]\n}\nmax_batch_size: 4\ndynamic_batching { }\n'
    assert compared(tmp_path, one, other) == [
        Difference("max_batch_size", Side("8", 1), Side("4", 5)),
        Difference("input[a].dims", Side("[ 1 ]", 4), Side("[ 1, 2 ]", 3)),
        Difference("response_cache.enable", Side("true", 6), Side()),
        Difference("dynamic_batching", Side(), Side("{ }", 6)),
    ]


def test_elements_are_compared_by_their_names(tmp_path: Path) -> None:
    """Inputs in another order are the same inputs; groups without names go by their place."""
    one = 'input [ { name: "a" }, { name: "b" } ] instance_group [ { count: 1 }, { count: 2 } ]'
    other = 'input [ { name: "b" }, { name: "a" dims: 3 } ] instance_group [ { count: 1 }, { count: 3 } ]'
    assert {row.field for row in compared(tmp_path, one, other)} == {"instance_group[1].count", "input[a].dims"}


def test_entries_of_a_map_are_compared_by_their_keys(tmp_path: Path) -> None:
    """An entry more, an entry of another value."""
    policy = "priority_queue_policy { key: 1 value { max_queue_size: 2 } }"
    one = f'metric_tags {{ key: "a" value: "1" }} dynamic_batching {{ {policy} }}'
    other = 'metric_tags { key: "a" value: "2" } metric_tags { key: "b" value: "3" }'
    assert {row.field for row in compared(tmp_path, one, other)} == {
        "metric_tags[a]",
        "metric_tags[b]",
        "dynamic_batching.priority_queue_policy[1].max_queue_size",
    }
