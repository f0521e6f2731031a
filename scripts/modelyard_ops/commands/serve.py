"""`modelyard serve`: the model repository, served by the embedded Triton."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard_build.repository.device import HELP as DEVICE_HELP
from modelyard_build.repository.device import use
from modelyard_ops.console import stderr, stdout
from modelyard_ops.extras import require_extra
from modelyard_ops.machine import announced_config_name, shows_gpus
from modelyard_ops.paths import DEFAULT_REPOSITORY, existing_repository
from modelyard_ops.serving import installation_progress, models_table, show_left_out, streamed_log

if TYPE_CHECKING:
    from modelyard_server.process import TritonServer
    from modelyard_server.readiness import ModelState

STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def serve(
    repository: Annotated[Path, typer.Option(help="The model repository.")] = DEFAULT_REPOSITORY,
    http_port: Annotated[int, typer.Option(help="Port for HTTP, on loopback; names the server.")] = 8000,
    grpc_port: Annotated[int, typer.Option(help="Port for gRPC.")] = 8001,
    metrics_port: Annotated[int, typer.Option(help="Port for Prometheus metrics.")] = 8002,
    config_name: Annotated[
        str | None,
        typer.Option(
            help="Serve configs/<name>.pbtxt of each model that has it, instead of config.pbtxt. Left out: the name of "
            "this kind of machine. `default`: config.pbtxt everywhere."
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="Serve this model, and the steps that it calls; may be repeated. [default: what is built]"
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help=DEVICE_HELP)] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when the models are ready; the server stays.")
    ] = False,
) -> None:
    """Serve what is built of the model repository with the embedded Triton, on this machine alone.

    In the foreground the log is shown, and Ctrl-C or SIGTERM lets running inferences finish and stops the server.
    A model that does not load is reported, with the reason, and the others are served (with --detach: exit code 1).
    """
    require_extra("server", "psutil")
    from modelyard_server.built import unbuilt
    from modelyard_server.process import ServerOptions, TritonServer

    use(device)
    folder = existing_repository(repository)
    options = ServerOptions(
        repository=folder,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        config_name=announced_config_name(folder, config_name),
        models=tuple(models or ()),
        gpus=shows_gpus(),
    )
    if not models:
        show_left_out(unbuilt(folder, options.config_name), folder, options.config_name)
    with installation_progress() as progress:
        server = TritonServer(options, detached=detach, progress=progress)
        server.start()
    if not detach:
        _serve_in_foreground(server)
    elif not _serve_detached(server):
        raise typer.Exit(1)


def _serve_in_foreground(server: TritonServer) -> None:
    """Until somebody stops it. An interruption while the models load is one; afterwards it is the normal end."""
    with streamed_log(server.log_path), _signals_interrupt():
        try:
            states = _wait_ready(server)
            with _announced_draining():
                _show(server, states)
                server.wait()
        finally:
            server.stop()


def _serve_detached(server: TritonServer) -> bool:
    """Returns whether every model serves; a server that does not come up at all is stopped."""
    try:
        with stderr.status("loading the models"), _signals_interrupt():
            states = _wait_ready(server)
    except BaseException:
        server.stop()
        raise
    _show(server, states)
    return all(row.state == "READY" for row in states)


def _wait_ready(server: TritonServer) -> list[ModelState]:
    """The models' states once each had its turn; one that did not load does not keep the others from serving."""
    from modelyard_server.control import states_of
    from modelyard_server.errors import ModelsNotReadyError

    try:
        return server.wait_ready()
    except ModelsNotReadyError:
        return states_of(server.state)


def _show(server: TritonServer, states: list[ModelState]) -> None:
    stdout.print(models_table(states))
    stdout.print(f"HTTP     {server.http_url}\ngRPC     {server.grpc_url}\nmetrics  {server.metrics_url}/metrics")
    stdout.print(f"log      {server.log_path}", soft_wrap=True)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal are handled like Ctrl-C; a signal that is ignored (nohup) stays so."""
    numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _announced_draining() -> Iterator[None]:
    """Ends the waiting at an interruption, and says what happens next."""
    try:
        yield
    except KeyboardInterrupt:
        stderr.print("running inferences finish, then Triton stops; Ctrl-C again ends it at once", style="yellow")
