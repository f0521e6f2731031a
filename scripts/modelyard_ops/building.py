"""What `modelyard build` needs from the other rooms: a server to prove on, a console to show progress on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelyard_build.errors import ServeFailed
from modelyard_build.model import NUMPY_DTYPES, Array, Arrays
from modelyard_build.rounding import joined_rows
from modelyard_client import Client
from modelyard_client.errors import ClientError
from modelyard_ops.console import stderr
from modelyard_ops.machine import shows_gpus
from modelyard_ops.serving import installation_progress

if TYPE_CHECKING:
    from modelyard_server.process import TritonServer

IN_FLIGHT = 4
# What is in flight queues on the server; a proof is not the place to find out that a machine is slow.
DEADLINE_S = 300.0
# What is faster, such as finding an answer in the cache, is no step to a person.
WORTH_A_LINE_S = 0.05


class ConsoleProgress:
    """Shows the step at work with a spinner, and each finished step as a line.

    Attributes:
        seconds: how long each kind of step took in all, by its name.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, model: str, step: str) -> Iterator[None]:
        """Shows one step of one model while the context lasts."""
        started = time.monotonic()
        with stderr.status(f"{model}: {step}"):
            yield
        taken = time.monotonic() - started
        self.seconds[step] = self.seconds.get(step, 0.0) + taken
        if taken >= WORTH_A_LINE_S:
            stderr.print(f"[dim]{model}: {step}, {taken:.1f} s[/dim]", soft_wrap=True)

    def say(self, line: str) -> None:
        """Prints a line, or several."""
        stderr.print(line, style="dim", markup=False, soft_wrap=True)


class ServedRepository:
    """Answers to any number of items through a running Triton."""

    def __init__(self, server: TritonServer) -> None:
        self._server = server

    def infer(self, model: str, inputs: Arrays, protocol: str) -> Arrays:
        """Asks as the model's kind wants to be asked; see `build`'s `Served`.

        Requests are of the model's max_batch_size, several at a time; where the model does not batch, of one item
        without the first dimension.
        """
        url = self._server.grpc_url if protocol == "grpc" else self._server.http_url
        with Client(f"{protocol}://{url}", deadline=DEADLINE_S) as client:
            config = client.config(model)
            try:
                if config.model_transaction_policy.decoupled:
                    return _streamed(client, model, inputs, int(config.max_batch_size))
                if config.HasField("sequence_batching"):
                    return _in_sequence(client, model, inputs, int(config.max_batch_size))
                return _independent(client, model, inputs, int(config.max_batch_size))
            except ClientError as error:
                raise ServeFailed(f"{model} over {protocol}: {error}") from error


def _independent(client: Client, model: str, inputs: Arrays, size: int) -> Arrays:
    chunks = _chunks(inputs, size) if size else _chunks(inputs, 1, unbatched=True)
    answers = list(client.infer_many(model, chunks, in_flight=IN_FLIGHT))
    if not size:
        return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}
    return {name: joined_rows([answer[name] for answer in answers]) for name in answers[0]}


def _in_sequence(client: Client, model: str, inputs: Arrays, size: int) -> Arrays:
    """The items as the requests of one sequence."""
    items = _chunks(inputs, 1, unbatched=not size)
    with client.sequence(model, deadline=DEADLINE_S) as sequence:
        answers = [sequence.infer(item, end=number == len(items)) for number, item in enumerate(items, 1)]
    return {name: joined_rows([_row(answer[name], size) for answer in answers]) for name in answers[0]}


def _streamed(client: Client, model: str, inputs: Arrays, size: int) -> Arrays:
    """Each item as a request of its own, with its responses along a second dimension."""
    shapes = {output.name: [max(dim, 0) for dim in output.shape] for output in client.metadata(model).outputs}
    dtypes = {output.name: NUMPY_DTYPES[output.datatype] for output in client.metadata(model).outputs}

    def ask(item: Arrays) -> Arrays:
        responses = list(client.stream(model, item, deadline=DEADLINE_S))
        return {
            # A stream may have no response at all.
            name: joined_rows([_row(response[name], size) for response in responses])
            if responses
            else np.empty((0, *(shape[1:] if size else shape)), dtypes[name])
            for name, shape in shapes.items()
        }

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = list(pool.map(ask, _chunks(inputs, 1, unbatched=not size)))
    return {name: joined_rows([answer[name][None] for answer in answers]) for name in shapes}


def _row(array: Array, size: int) -> Array:
    """A response of one item as a row: with the batch dimension that it has, or with one."""
    return array if size else array[None]


def _chunks(inputs: Arrays, size: int, *, unbatched: bool = False) -> list[Arrays]:
    """Requests of so many items each, or of one without the first dimension."""
    count = len(next(iter(inputs.values())))
    if unbatched:
        return [{name: array[at] for name, array in inputs.items()} for at in range(count)]
    return [{name: array[start : start + size] for name, array in inputs.items()} for start in range(0, count, size)]


@contextlib.contextmanager
def server_on_free_ports(
    repository: Path, config_name: str | None = None, models: Collection[str] = (), *, response_cache: bool = True
) -> Iterator[TritonServer]:
    """An embedded Triton over a repository, on free ports of the loopback, while the context lasts.

    Args:
        repository: the model repository.
        config_name: the value of `--model-config-name`.
        models: what is served, with what they call; empty: all that is built.
        response_cache: whether models whose config asks for it answer out of the cache what they answered before.
    """
    from modelyard_server.process import ServerOptions, TritonServer, free_ports

    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServerOptions(
        repository,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        config_name=config_name,
        models=tuple(models),
        gpus=shows_gpus(),
        response_cache_bytes=ServerOptions.response_cache_bytes if response_cache else 0,
    )
    with installation_progress() as progress, TritonServer(options, progress=progress) as server:
        yield server


@contextlib.contextmanager
def serve_scratch(repository: Path) -> Iterator[ServedRepository]:
    """Serves a staged repository while the context lasts, for the build to prove it.

    Raises:
        ServeFailed: a model did not load.
    """
    from modelyard_server.errors import ModelsNotReadyError

    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(server_on_free_ports(repository))
        except ModelsNotReadyError as error:
            raise ServeFailed(str(error)) from error
        yield ServedRepository(server)


def load_into_running_servers(repository: Path, models: Sequence[str]) -> list[str]:
    """Has this machine's servers of the repository load the models, in order.

    Returns:
        A line for each server, for people.
    """
    from modelyard_server.control import load_model
    from modelyard_server.state import running_servers

    lines = []
    for server in running_servers(repository) if models else []:
        for model in models:
            load_model(server.http_url, model)
        lines.append(f"the server on {server.http_url} loaded {', '.join(models)}")
    return lines
