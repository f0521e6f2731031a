"""An embedded Triton for tests."""

from __future__ import annotations

from pathlib import Path

from modelyard_server.process import ServerOptions, free_ports


def options_on_free_ports(repository: Path) -> ServerOptions:
    """Options to serve a repository on ports that nobody uses."""
    http_port, grpc_port, metrics_port = free_ports(3)
    return ServerOptions(repository, http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
