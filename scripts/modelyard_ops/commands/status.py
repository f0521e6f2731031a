"""`modelyard status`: which models serve, and why the others do not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard_ops.console import print_json, stdout
from modelyard_ops.errors import OpsError
from modelyard_ops.extras import require_extra
from modelyard_ops.serving import models_table, show_left_out

if TYPE_CHECKING:
    from modelyard_server.readiness import ModelState

LOOPBACK = "127.0.0.1"


def status(
    http_port: Annotated[
        int | None, typer.Option(help="HTTP port of a server on this machine. [default: every embedded server]")
    ] = None,
    url: Annotated[str | None, typer.Option(help="host:port of any Triton's HTTP; without its log.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of servers as JSON on stdout.")] = False,
) -> None:
    """Show the models of a server with their versions and states; for a failed one, the reason out of the log.

    Exit code 1 when a model is not READY, or when no server runs. Models that are not built are none of a server's.
    """
    require_extra("server", "psutil")
    servers = [_described(each) for each in _urls(http_port, url)]
    if as_json:
        print_json([_plain(server) for server in servers])
    else:
        for server in servers:
            _show(server)
    if not all(server["models"] and all(row.state == "READY" for row in server["models"]) for server in servers):
        raise typer.Exit(1)


def _urls(http_port: int | None, url: str | None) -> list[str]:
    """The servers that are meant.

    Raises:
        OpsError: none is named and none of ours runs, or two are named.
    """
    from modelyard_server.state import running_servers

    if url and http_port is not None:
        raise OpsError("--url and --http-port both name a server. Give one of them.")
    if url or http_port is not None:
        return [_host_and_port(url) if url else f"{LOOPBACK}:{http_port}"]
    running = [server.http_url for server in running_servers()]
    if not running:
        raise OpsError(
            f"no embedded server runs.{_last_ending()} Start one with `modelyard serve`, or name a Triton with --url."
        )
    return running


def _last_ending() -> str:
    """Why the server that ran last ended, where it did so by itself."""
    from modelyard_server.log import ended_by_itself, last_errors, read_log
    from modelyard_server.state import run_dir

    logs = sorted(run_dir().glob("*.log"), key=lambda path: path.stat().st_mtime)
    text = read_log(logs[-1]) if logs else ""
    return f" The last one ended: {last_errors(text)}. Its log: {logs[-1]}." if ended_by_itself(text) else ""


def _host_and_port(url: str) -> str:
    """The part of a URL that says where: a scheme and a path may stand around it."""
    place = url.removeprefix("http://").partition("/")[0]
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        raise OpsError(f"--url is {url!r}; expected host:port of a Triton's HTTP service, such as {LOOPBACK}:8000.")
    return place


def _described(url: str) -> dict[str, Any]:
    """What is known of one server; `models` is empty while it starts."""
    from modelyard_server.control import left_out, model_states
    from modelyard_server.errors import UnreachableError
    from modelyard_server.log import read_log, still_loading
    from modelyard_server.protocol import server_metadata
    from modelyard_server.state import server_at

    ours = server_at(url)
    known = {
        "http_url": url,
        "grpc_url": ours.grpc_url if ours else None,
        "metrics_url": ours.metrics_url if ours else None,
        "repository": str(ours.repository) if ours else None,
        "config_name": ours.config_name if ours else None,
        "log": str(ours.log_path) if ours else None,
        "left_out": left_out(ours) if ours else {},
    }
    try:
        version = server_metadata(url).get("version")
        return {**known, "version": version, "loading": [], "models": model_states(url)}
    except UnreachableError:
        if not ours:
            raise
        return {**known, "version": None, "loading": still_loading(read_log(ours.log_path)), "models": []}


def _plain(server: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    states: list[ModelState] = server["models"]
    return {**server, "models": [asdict(row) for row in states]}


def _show(server: dict[str, Any]) -> None:
    over = f" over {server['repository']}" if server["repository"] else ""
    stdout.print(f"[bold]{server['http_url']}[/bold]  Triton {server['version'] or '(starting)'}{over}", soft_wrap=True)
    if server["models"]:
        stdout.print(models_table(server["models"]))
    else:
        loading = ", ".join(server["loading"])
        stdout.print(f"no model serves yet{f'; loading: {loading}' if loading else ''}", style="yellow")
    if server["left_out"]:
        show_left_out(server["left_out"], Path(server["repository"]), server["config_name"])
