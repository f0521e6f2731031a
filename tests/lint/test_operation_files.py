"""Deployment files that are broken or hostile: a clear error in bounded time, never a crash."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modelyard_build.errors import BuildError
from modelyard_build.repository.lint.deployments import MAX_BYTES, read_deployment
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import check
from modelyard_build.repository.lint.settings import Settings

LAUGHS = 'a0: &a0 ["tritonserver --x"]\n' + "".join(
    f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]\n" for number in range(1, 30)
)
MERGES = "a0: &a0 {x0: 1, y0: 2}\n" + "".join(
    f"a{number}: &a{number}\n  <<: [{', '.join([f'*a{number - 1}'] * 10)}]\n" for number in range(1, 12)
)


def write(folder: Path, content: str | bytes) -> Path:
    """Writes a Compose file."""
    path = folder / "compose.yml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("services:\n  a: [1\n", "compose.yml:3:1: this is no YAML"),
        ("a:\n\tb: 1\n", "compose.yml:2:1: this is no YAML"),
        (b"a: \xff\xfe", "not UTF-8 at its byte 3"),
        (b"\x00\x01\x02" * 99, "this is no YAML"),
        ("a: 2026-13-45\n", "this is no YAML"),
        ("? [a]\n: 1\n", "this is no YAML"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("{a: " * 100_000, "nested more than 64 deep"),
        (MERGES, "more than 10000 entries"),
        ("#" * (MAX_BYTES + 1), "has more than 1 MiB"),
    ],
)
def test_what_is_no_deployment_file_is_said(tmp_path: Path, content: str | bytes, said: str) -> None:
    """With the place, where the parser tells one; within two seconds."""
    start = time.monotonic()
    with pytest.raises(BuildError) as raised:
        read_deployment(write(tmp_path, content), Settings())
    assert said in str(raised.value)
    assert time.monotonic() - start < 2


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Missing, or a folder."""
    with pytest.raises(BuildError, match="cannot be read"):
        read_deployment(tmp_path / "missing.yml", Settings())
    with pytest.raises(BuildError, match="cannot be read"):
        read_deployment(tmp_path, Settings())


@pytest.mark.parametrize(
    "service",
    ["command: *a29", "command: [tritonserver, *a29]", "image: tritonserver\n    healthcheck: {test: *a29}"],
)
def test_aliases_of_aliases_are_not_expanded(tmp_path: Path, service: str) -> None:
    """Ten to the power of 29 words, written in 30 lines ("billion laughs")."""
    start = time.monotonic()
    text = f"{LAUGHS}services:\n  triton:\n    command: [tritonserver]\n    volumes: *a29\n    {service}\n"
    read = read_deployment(
        write(tmp_path, text.replace("    command: [tritonserver]\n", "", "command" in service)), Settings()
    )
    check(read, RULES)
    assert time.monotonic() - start < 2


def test_a_value_that_holds_itself_is_read(tmp_path: Path) -> None:
    """YAML allows it."""
    text = "services:\n  triton: &self\n    command: [tritonserver, --log-verbose=1]\n    labels: *self\n"
    found = check(read_deployment(write(tmp_path, text), Settings()), RULES)
    assert "MY710" in {finding.rule.code for finding in found}


def test_a_mapping_that_merges_itself_is_read(tmp_path: Path) -> None:
    """What it does not state is looked for once."""
    text = "services:\n  triton: &self\n    image: tritonserver\n    command: [tritonserver]\n    <<: *self\n"
    found = check(read_deployment(write(tmp_path, text), Settings()), RULES)
    assert {"MY705", "MY706"} <= {finding.rule.code for finding in found}


def test_tags_of_compose_are_taken_for_plain_values(tmp_path: Path) -> None:
    """`!reset` and `!override` are Compose's own."""
    text = "services:\n  triton:\n    ports: !override ['8000']\n    image: !reset null\n"
    assert read_deployment(write(tmp_path, text), Settings()).documents == [
        {"services": {"triton": {"ports": ["8000"], "image": "null"}}}
    ]


def test_several_documents_and_other_kinds_are_read(tmp_path: Path) -> None:
    """Those that are no mappings hold nothing for a rule; a byte order mark is no character."""
    read = read_deployment(write(tmp_path, "\ufeffkind: Pod\n---\n- 1\n---\n---\nkind: Service\n"), Settings())
    assert [document["kind"] for document in read.documents] == ["Pod", "Service"]
