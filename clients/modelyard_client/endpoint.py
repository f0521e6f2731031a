"""Where servers are and how they are reached: URLs, TLS options, headers. Pure but for reading certificates."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from modelyard_client.errors import InvalidInput

ProtocolName = Literal["grpc", "http"]

# How long one attempt to connect may take, so that time is left to try another server.
CONNECT_TIMEOUT_S = 3.0
# Triton 2.51 can end in a segmentation fault over a cancellation that meets the end of a stream: after 2,590 streams
# that were left behind their only response, and after none of 44,496 that went on.
CANCEL_DELAY_S = 0.05
# Triton's own default ports.
DEFAULT_PORTS = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 8000}
SCHEMES = ", ".join(f"{scheme}://" for scheme in DEFAULT_PORTS)


@dataclass(frozen=True)
class Endpoint:
    """One server.

    Attributes:
        scheme: grpc, grpcs, http or https.
        host: Name or address, an IPv6 address without its brackets.
        port: TCP port.
        path: Prefix of every HTTP path, "" or "/like/this".
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        """`host:port`, as a gRPC target and in URLs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def is_grpc(self) -> bool:
        """Whether it speaks gRPC rather than HTTP."""
        return self.scheme in ("grpc", "grpcs")

    @property
    def is_secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.scheme in ("grpcs", "https")

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, as far as its name tells."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True)
class Tls:
    """How grpcs:// and https:// servers are trusted and, for mutual TLS, how the client shows itself. PEM files.

    Attributes:
        ca_certificates: The authorities that are trusted; None takes those of the system (https) or of gRPC (grpcs).
        certificate: The client's certificate chain.
        private_key: Its private key.
    """

    ca_certificates: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            raise InvalidInput("Tls has one of certificate and private_key; mutual TLS needs both, plain TLS neither.")

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The contents of the authorities, the private key and the certificate chain, in gRPC's order.

        Raises:
            InvalidInput: A file cannot be read.
        """
        return _read(self.ca_certificates), _read(self.private_key), _read(self.certificate)

    def ssl_context(self) -> ssl.SSLContext:
        """The same for HTTPS.

        Raises:
            InvalidInput: A file cannot be read or is no PEM file of its kind.
        """
        self.read()
        try:
            context = ssl.create_default_context(cafile=self.ca_certificates)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.private_key)
        except ssl.SSLError as error:
            files = ", ".join(str(path) for path in (self.ca_certificates, self.certificate, self.private_key) if path)
            raise InvalidInput(f"Tls cannot use {files}: {error}; certificates and keys are PEM files.") from error
        return context


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"Tls cannot read {path}: {error.strerror}; pass the path of a PEM file.") from error


def parse_endpoints(url: str | Sequence[str], protocol: ProtocolName | None) -> tuple[Endpoint, ...]:
    """Reads one URL or several.

    Raises:
        InvalidInput: There is none, one is given twice, or one is no URL of a Triton server.
    """
    endpoints = tuple(parse_endpoint(each, protocol) for each in ([url] if isinstance(url, str) else url))
    if not endpoints:
        raise InvalidInput("the list of URLs is empty; pass at least one, for example 'grpc://127.0.0.1:8001'.")
    for endpoint in endpoints:
        if endpoints.count(endpoint) > 1:
            raise InvalidInput(f"{endpoint.url} is in the list of URLs twice; pass each server once.")
    return endpoints


def parse_endpoint(url: str, protocol: ProtocolName | None = None) -> Endpoint:
    """Reads `scheme://host:port`; without a scheme, `protocol` says which (gRPC where that is None).

    Raises:
        InvalidInput: It is no URL of a Triton server, or contradicts `protocol`.
    """
    if protocol not in (None, "grpc", "http"):
        raise InvalidInput(f"protocol is {protocol!r}; expected 'grpc' or 'http'.")
    try:
        parts = urlsplit(url if "://" in url else f"{protocol or 'grpc'}://{url}")
        _check_url(parts, protocol)
        port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError as problem:
        raise InvalidInput(
            f"'{url}' is no URL of a Triton server: {problem}. Expected host:port after one of {SCHEMES}."
        ) from None
    return Endpoint(parts.scheme, parts.hostname or "", port, parts.path.rstrip("/"))


def _check_url(parts: SplitResult, protocol: ProtocolName | None) -> None:
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"its scheme is '{parts.scheme}'")
    if protocol and not parts.scheme.startswith(protocol):
        raise ValueError(f"its scheme is '{parts.scheme}' and the protocol asked for is '{protocol}'")
    if not parts.hostname:
        raise ValueError("it names no host")
    if parts.username is not None:
        raise ValueError("it holds a user name; pass credentials as headers")
    if parts.query or parts.fragment:
        raise ValueError("it has a query or a fragment")
    if parts.scheme.startswith("grpc") and parts.path not in ("", "/"):
        raise ValueError("gRPC has no paths")


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Headers as both protocols carry them: lower-case names, printable ASCII values.

    Raises:
        InvalidInput: A name or value cannot be carried.
    """
    checked = {}
    for name, value in (headers or {}).items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name.lower().startswith("grpc-"):
            raise InvalidInput(
                f"header {name!r} is no name that HTTP and gRPC both carry; use letters, digits and '-'."
            )
        if not re.fullmatch(r"[\x20-\x7e]*", value):
            raise InvalidInput(f"the value of header '{name}' has characters outside of printable ASCII; encode it.")
        checked[name.lower()] = value
    return checked
