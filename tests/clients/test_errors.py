"""The errors themselves."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from modelyard_client import errors
from modelyard_client.errors import ClientError, DeadlineExceeded, TextTruncated

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ClientError)]


def drawn(kind: type[ClientError], prefix: str = "") -> list[str]:
    """The tree below a class, as it is drawn."""
    below = kind.__subclasses__()
    lines: list[str] = []
    for child in below:
        is_last = child is below[-1]
        lines.append(f"{prefix}{'└── ' if is_last else '├── '}{child.__name__}")
        lines += drawn(child, prefix + ("    " if is_last else "│   "))
    return lines


def test_tree_is_drawn_as_it_is() -> None:
    """The drawing at the top of errors.py is the hierarchy."""
    branches = re.findall(r"^[│├└ ]*── \w+", errors.__doc__ or "", re.MULTILINE)
    assert branches == drawn(ClientError)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_cross_process_boundaries(kind: type[ClientError]) -> None:
    """A worker process can raise them: message and attributes survive pickling."""
    back = pickle.loads(pickle.dumps(kind("what", url="u", model="m", request_id="r")))  # noqa: S301 - our own bytes
    assert type(back) is kind
    assert (str(back), back.url, back.model, back.request_id) == ("what", "u", "m", "r")


def test_truncation_names_ten_and_counts_the_rest() -> None:
    """A warning about a thousand texts stays readable, and holds them all."""
    warning = TextTruncated(dict.fromkeys(range(1000), 300), 256)
    assert "texts[9] (300) and 990 others" in str(warning)
    assert "texts[10]" not in str(warning)
    assert len(warning.token_counts) == 1000


def test_attributes_default_to_none() -> None:
    """An error that concerns no server has none."""
    assert DeadlineExceeded("late").url is None
