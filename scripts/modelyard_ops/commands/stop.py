"""`modelyard stop`: ends embedded servers, and cleans up after those that died."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard_ops.console import stderr, stdout
from modelyard_ops.errors import OpsError
from modelyard_ops.extras import require_extra

if TYPE_CHECKING:
    from modelyard_server.state import RunningServer


def stop(
    http_port: Annotated[
        int | None, typer.Option(help="HTTP port of the server to stop. [default: the only one]")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Stop every embedded server of this user on this machine.")
    ] = False,
) -> None:
    """Stop an embedded server: running inferences finish, nothing of it is left behind."""
    require_extra("server", "psutil")
    from modelyard_server.cleanup import stop_server, sweep
    from modelyard_server.state import run_dir, running_servers

    folder = run_dir()
    sweep(folder)
    for server in _chosen(running_servers(), http_port, every):
        with stderr.status(f"stopping {server.http_url}"):
            stop_server(server, folder)
        stdout.print(f"stopped {server.http_url}, which served {server.repository}", soft_wrap=True)


def _chosen(servers: list[RunningServer], http_port: int | None, every: bool) -> list[RunningServer]:
    """The servers to stop.

    Raises:
        OpsError: the one that is meant does not run, or is not clear.
    """
    if every or (http_port is None and not servers):
        if not servers:
            stdout.print("no embedded server runs")
        return servers
    chosen = servers if http_port is None else [server for server in servers if server.http_port == http_port]
    if len(chosen) == 1:
        return chosen
    running = ", ".join(str(server.http_port) for server in servers) or "none"
    if http_port is not None:
        raise OpsError(f"no embedded server listens on HTTP port {http_port}; running: {running}.")
    raise OpsError(
        f"several embedded servers run, on the HTTP ports {running}. Name one with --http-port, or use --all."
    )
