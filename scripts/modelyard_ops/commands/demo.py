"""`modelyard demo`: the whole way once, with real texts, for a person who has just cloned the project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from modelyard_build.datasets import complaints
from modelyard_build.datasets.complaints import LABELS, Complaints
from modelyard_client import Client
from modelyard_client.tasks import TextEmbedder, TicketClassifier
from modelyard_ops.console import stderr, stdout
from modelyard_ops.paths import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from modelyard_server.process import TritonServer

SYSTEMS = ("text_embedder", "ticket_classifier")
QUERIES = (
    "Somebody opened an account in my name",
    "The bank raised my monthly house payment without telling me",
    "They keep calling me at work about money I do not owe",
)
CORPUS_SIZE = 200
CLASSIFIED = 6
# Short enough for both models to read to the end: about a token and a half a word.
MAX_WORDS = 80
SNIPPET = 64
PERF_CONCURRENCIES = (1, 8)
PERF_INTERVAL_MS = 1500


def demo(
    repository: Annotated[Path, typer.Option(help="The model repository; made when missing.")] = DEFAULT_REPOSITORY,
) -> None:
    """Build and verify both systems, serve them, send real texts over gRPC and HTTP, measure, stop."""
    from modelyard_ops.building import server_on_free_ports
    from modelyard_ops.commands.build import Quality, build
    from modelyard_ops.machine import announced_config_name

    _heading("Build: PyTorch to verified versions")
    build(list(SYSTEMS), repository, targets="", quality=Quality.near, as_json=False)
    _heading("Serve: the real Triton on this machine")
    with server_on_free_ports(repository, announced_config_name(repository, None)) as server:
        stdout.print(f"gRPC {server.grpc_url}, HTTP {server.http_url}, metrics {server.metrics_url}")
        data = _complaints()
        _heading(f"text_embedder: the nearest of {CORPUS_SIZE} real complaints")
        _show_neighbours(server, data)
        _heading("ticket_classifier: complaints it has never seen")
        _show_tickets(server, data)
        _heading("perf_analyzer, with real texts")
        _show_perf(server, repository)
        _heading("Stop")
    stdout.print("Triton drained and stopped")


def _heading(text: str) -> None:
    stdout.print(f"\n[bold]{text}[/bold]")


def _complaints() -> Complaints:
    from modelyard_build.assets import fetch

    found = complaints.load(fetch({"test": complaints.TEST}, stdout.print)["test"])
    short = [index for index, text in enumerate(found.texts) if len(text.split()) <= MAX_WORDS]
    return complaints.Complaints([found.texts[index] for index in short], found.labels[short])


def _show_neighbours(server: TritonServer, data: Complaints) -> None:
    texts = data.texts[:CORPUS_SIZE]
    with Client(f"grpc://{server.grpc_url}") as grpc, Client(f"http://{server.http_url}") as http:
        corpus = TextEmbedder(grpc).embed(texts)
        queries = TextEmbedder(grpc).embed(list(QUERIES))
        difference = float(np.abs(queries - TextEmbedder(http).embed(list(QUERIES))).max())
    for query, scores in zip(QUERIES, queries @ corpus.T, strict=True):
        best = int(scores.argmax())
        stdout.print(f"{query}\n  [dim]{scores[best]:.3f}[/dim]  {_snippet(texts[best])}")
    stdout.print(f"[dim]gRPC and HTTP differ by at most {difference:.1e}[/dim]")


def _show_tickets(server: TritonServer, data: Complaints) -> None:
    texts = data.texts[-CLASSIFIED:]
    with Client(f"http://{server.http_url}") as client:
        predictions = TicketClassifier(client).classify(texts)
    names = list(LABELS.values())
    for text, prediction, label in zip(texts, predictions, data.labels[-CLASSIFIED:], strict=True):
        verdict = "right" if prediction.label == names[label] else f"labelled {names[label]}"
        stdout.print(f"{prediction.label} {prediction.probability:.0%} ({verdict})\n  [dim]{_snippet(text)}[/dim]")


def _snippet(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SNIPPET else line[: SNIPPET - 1] + "…"


def _show_perf(server: TritonServer, repository: Path) -> None:
    from modelyard_ops import perf
    from modelyard_server.install import install_perf_analyzer

    plan = perf.Plan(
        model="text_embedder",
        url=server.grpc_url,
        protocol="grpc",
        concurrencies=PERF_CONCURRENCIES,
        interval_ms=PERF_INTERVAL_MS,
        attempts=1,
    )
    samples = perf.golden_samples(repository, plan.model)
    with stderr.status("measuring"):
        rows = perf.measure(plan, samples, install_perf_analyzer())
    stdout.print(perf.table(rows))
