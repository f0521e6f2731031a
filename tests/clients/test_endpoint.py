"""URLs, TLS files and headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme

from modelyard_client import Client, Tls
from modelyard_client.deadline import Deadline
from modelyard_client.endpoint import checked_headers, parse_endpoint, parse_endpoints
from modelyard_client.errors import InvalidInput


@pytest.mark.parametrize(
    ("url", "protocol", "expected"),
    [
        ("127.0.0.1:9001", None, "grpc://127.0.0.1:9001"),
        ("127.0.0.1:9001", "http", "http://127.0.0.1:9001"),
        ("grpc://host", None, "grpc://host:8001"),
        ("https://host", None, "https://host:8000"),
        ("grpcs://host", "grpc", "grpcs://host:8001"),
        ("http://gateway:80/triton/", None, "http://gateway:80/triton"),
        ("http://[::1]:8000", None, "http://[::1]:8000"),
    ],
)
def test_urls_that_are_understood(url: str, protocol: Any, expected: str) -> None:
    """The scheme decides, else the protocol; ports default to Triton's own."""
    assert parse_endpoint(url, protocol).url == expected


@pytest.mark.parametrize(
    ("url", "protocol", "sentence"),
    [
        ("ftp://host", None, "its scheme is 'ftp'"),
        ("http://host", "grpc", "the protocol asked for is 'grpc'"),
        ("grpc://", None, "it names no host"),
        ("", None, "it names no host"),
        ("http://user:secret@host", None, "pass credentials as headers"),
        ("http://host?x=1", None, "has a query"),
        ("grpc://host/path", None, "gRPC has no paths"),
        ("host:70000", None, "Port out of range"),
        ("host:abc", None, "Port could not be cast"),
        ("host", "udp", "expected 'grpc' or 'http'"),
    ],
)
def test_urls_that_are_not(url: str, protocol: Any, sentence: str) -> None:
    """Each with what is wrong about it."""
    with pytest.raises(InvalidInput, match=sentence):
        parse_endpoint(url, protocol)


def test_lists_of_urls() -> None:
    """Several servers, each once, at least one."""
    assert [each.scheme for each in parse_endpoints(["grpc://a", "http://b"], None)] == ["grpc", "http"]
    with pytest.raises(InvalidInput, match="list of URLs is empty"):
        parse_endpoints([], None)
    with pytest.raises(InvalidInput, match="twice"):
        parse_endpoints(["a:8001", "grpc://a"], None)


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("[::1]", True), ("localhost", True), ("10.0.0.1", False)]
)
def test_this_machine_is_known(host: str, local: bool) -> None:
    """Shared memory is for servers here."""
    assert parse_endpoint(f"http://{host}:1").is_loopback is local


@pytest.mark.parametrize("deadline", [0, -1, float("inf"), float("nan")])
def test_deadlines_are_positive_and_finite(deadline: float) -> None:
    """Nothing waits for ever."""
    with pytest.raises(InvalidInput, match="the deadline is"):
        Client("grpc://host", deadline=deadline)


def test_deadline_counts_down_to_zero() -> None:
    """What is left never becomes negative."""
    now = [100.0]
    deadline = Deadline(5, clock=lambda: now[0])
    assert deadline.left() == 5
    now[0] = 103.0
    assert deadline.left() == 2
    now[0] = 200.0
    assert deadline.left() == 0


def test_headers_are_carried_by_both_protocols() -> None:
    """Lower-case names, as gRPC wants them."""
    assert checked_headers({"Authorization": "Bearer x"}) == {"authorization": "Bearer x"}


@pytest.mark.parametrize("headers", [{"a b": "x"}, {"grpc-timeout": "x"}, {"a": "é"}, {"a": "x\r\nb: y"}, {"": "x"}])
def test_headers_that_cannot_be_carried(headers: dict[str, str]) -> None:
    """Neither smuggling of a second header nor gRPC's own names."""
    with pytest.raises(InvalidInput, match=r"header"):
        checked_headers(headers)


def test_tls_files_are_read_when_the_client_is_made(tmp_path: Path) -> None:
    """A missing or wrong file is found before the first call."""
    with pytest.raises(InvalidInput, match=r"Tls cannot read .*nowhere\.pem: No such file"):
        Client("grpcs://host", tls=Tls(tmp_path / "nowhere.pem"))
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"Tls cannot use .*broken\.pem"):
        Client("https://host", tls=Tls(broken))
    with pytest.raises(InvalidInput, match="mutual TLS needs both"):
        Tls(certificate=broken)


def test_tls_trusts_a_private_authority(tmp_path: Path) -> None:
    """The context of HTTPS holds the authority and checks host names."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = Tls(tmp_path / "ca.pem").ssl_context()
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1
