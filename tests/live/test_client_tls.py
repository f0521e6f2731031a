"""grpcs:// and https://, with certificates of a private authority and with mutual TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trustme

from modelyard_client import RetryPolicy, Tls
from modelyard_client.errors import ServerUnavailable
from modelyard_server.process import TritonServer
from support.clients import KINDS, Kind, open_client
from support.tls_proxy import tls_proxy

pytestmark = pytest.mark.live

ONES = np.ones((1, 4), np.float32)
ONCE = RetryPolicy(attempts=1)


@dataclass(frozen=True)
class Secured:
    """URLs that speak TLS, and what it takes to be let in."""

    grpc: str
    http: str
    tls: Tls

    def url(self, kind: Kind) -> str:
        """The one for a kind of client."""
        return self.grpc if kind.startswith("grpc") else self.http


@pytest.fixture(scope="module")
def secured(client_triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """TLS before both ports; clients must show a certificate of the same authority."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.configure_trust(context)
    tls = write_certificates(folder, authority)
    with (
        tls_proxy(client_triton.grpc_url, context) as grpc_port,
        tls_proxy(client_triton.http_url, context) as http_port,
    ):
        yield Secured(f"grpcs://127.0.0.1:{grpc_port}", f"https://127.0.0.1:{http_port}", tls)


def write_certificates(folder: Path, authority: trustme.CA) -> Tls:
    """The authority's certificate, and a client's with its key."""
    client = authority.issue_cert("client@example.org")
    paths = Tls(folder / "ca.pem", folder / "client.pem", folder / "client.key")
    authority.cert_pem.write_to_path(str(paths.ca_certificates))
    client.cert_chain_pems[0].write_to_path(str(paths.certificate))
    client.private_key_pem.write_to_path(str(paths.private_key))
    return paths


@pytest.mark.parametrize("kind", KINDS)
def test_mutual_tls_lets_in(secured: Secured, kind: Kind) -> None:
    """With the authority and a certificate of their own, all four clients infer."""
    with open_client(kind, secured.url(kind), tls=secured.tls, deadline=10) as client:
        assert client.infer("add", {"a": ONES, "b": ONES})["sum"].tolist() == [[2, 2, 2, 2]]


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_authority_is_not_trusted(secured: Secured, kind: Kind, tmp_path: Path) -> None:
    """A server that another authority vouches for gets no request; the error says it is about the certificate."""
    foreign = write_certificates(tmp_path, trustme.CA())
    with (
        open_client(kind, secured.url(kind), tls=foreign, deadline=10, retry=ONCE) as client,
        pytest.raises(ServerUnavailable, match=r"(?i)cannot connect .*certificate"),
    ):
        client.metadata("add")


@pytest.mark.parametrize("kind", KINDS)
def test_plain_client_is_not_let_in(secured: Secured, kind: Kind) -> None:
    """Without TLS towards a TLS port: unavailable, at once, without a request."""
    url = secured.url(kind).replace("s://", "://")
    with (
        open_client(kind, url, deadline=10, retry=ONCE) as client,
        pytest.raises(ServerUnavailable),
    ):
        client.metadata("add")
