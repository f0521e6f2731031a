"""Text in, vector out, over HTTP: the embedded Triton beside what people write themselves, on the same weights.

    modelyard build text_embedder --targets all
    python benchmarks/peers.py

Each server gets real texts of exactly 30 or 126 tokens, one a request, from one load generator that keeps 32
connections busy: HTTP/1.1, kept alive, requests made beforehand, answers received whole and not read. All servers stay
up; the rounds go through them in turns, beginning with another each time, so that what else the machine does falls on
all. Every contender's vectors are compared with the yardstick's before anything is timed.

modelyard         `text_embedder` with the configs of this kind of machine, as `modelyard serve` serves it; and with
                  each candidate of --candidates in the encoder's place. `binary` and `JSON` are the two forms of
                  Triton's HTTP protocol.
fastapi plain     FastAPI, uvicorn (uvloop, httptools), ONNX Runtime: one request, one run, a thread for each core
fastapi batched   the same with a batcher: what waits is run together on every core, after 2 ms at the latest
litserve batched  LitServe with its own batching: 32 texts, 2 ms

The peers are installed into an environment of their own in the cache, pinned in peer_servers/constraints.txt. The
yardstick is the fastest of them at that length. The exit status is 1 where the whole interval of modelyard's ratio to
it lies below 2, or that of its p99 above 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from measure import peer_environment
from measure.comparison import Comparison, Sample, compare, table, verdict
from measure.contenders import Contender, modelyard, peer
from measure.generator import Generator
from measure.load_generator import Order
from measure.progress import progress
from measure.repositories import linked, newest, with_candidate
from measure.texts import real_texts
from modelyard_build.models import text_embedder
from modelyard_build.repository.hardware import hardware
from modelyard_build.similarity import min_cosine
from modelyard_build.targets import select
from modelyard_server.errors import ServerError

REPOSITORY = Path(__file__).parents[1] / "model_repository"
MODELS = tuple(model.name for model in text_embedder.MODELS)
PEERS = ("fastapi_plain", "fastapi_batched", "litserve_batched")
TOKENS = (30, 126)
TEXTS = 64
LIMIT = 2.0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="holds text_embedder and its steps")
    parser.add_argument("--candidates", nargs="*", default=["openvino-int8"], help="measured beside the machine's own")
    parser.add_argument("--rounds", type=int, default=8, help="for each length of text; at least 2")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each contender in a round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--tokens", type=int, nargs="*", default=TOKENS, help="the lengths of the texts")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser.parse_args()


def start(options: argparse.Namespace, folder: Path, stack: ExitStack) -> tuple[list[Contender], list[Contender]]:
    """Ours, and the peers; all are up until the stack is closed."""
    repository = options.repository
    own = stack.enter_context(modelyard("modelyard", linked(repository, MODELS, folder / "own"), hardware().name))
    for name in options.candidates:
        candidate = next(each for each in select([name]) if each.name == name)
        served = with_candidate(repository, MODELS, text_embedder.ENCODER, candidate, folder / name)
        own += stack.enter_context(modelyard(f"modelyard {name}", served, None))
    model = newest(repository, text_embedder.ENCODER.name) / "model.onnx"
    tokenizer = newest(repository, text_embedder.TOKENIZER.name) / "tokenizer.json"
    python = peer_environment.python()
    return own, [stack.enter_context(peer(python, script, model, tokenizer)) for script in PEERS]


class Benchmark:
    """The contenders, up and ready to be measured."""

    def __init__(
        self, own: list[Contender], peers: list[Contender], options: argparse.Namespace, generator: Generator
    ) -> None:
        self.contenders = [*own, *peers]
        self.peers = [each.name for each in peers]
        self.options = options
        self.generator = generator

    def compare(self, tokens: int, texts: Sequence[str], folder: Path) -> Comparison:
        """Measures one length of text."""
        cosines = self._cosines(texts)
        requests = {each.name: self._stored(each, texts, folder) for each in self.contenders}
        for each in self.contenders:
            self._sample(each, requests[each.name])
        samples: dict[str, list[Sample]] = {each.name: [] for each in self.contenders}
        for number in range(self.options.rounds):
            first = number % len(self.contenders)
            for each in [*self.contenders[first:], *self.contenders[:first]]:
                progress(f"{tokens} tokens: round {number + 1} of {self.options.rounds}, {each.name}")
                samples[each.name].append(self._sample(each, requests[each.name]))
        progress("")
        return compare(tokens, samples, self.peers, cosines)

    def _cosines(self, texts: Sequence[str]) -> dict[str, float]:
        """Each contender's worst against the plain peer, whose runs have one text each in float32."""
        reference = next(each for each in self.contenders if each.name == self.peers[0])
        expected = np.stack([reference.ask(text) for text in texts])
        return {
            each.name: min_cosine(expected, np.stack([each.ask(text) for text in texts])) for each in self.contenders
        }

    def _stored(self, contender: Contender, texts: Sequence[str], folder: Path) -> list[str]:
        """The requests as files; the same texts in the same order for all."""
        own = folder / contender.name
        own.mkdir(exist_ok=True)
        for number, text in enumerate(texts):
            (own / str(number)).write_bytes(contender.request(text))
        return [str(own / str(number)) for number in range(len(texts))]

    def _sample(self, contender: Contender, requests: list[str]) -> Sample:
        order = Order("http", contender.url, requests, self.options.connections, self.options.seconds)
        before = contender.cpu_seconds()
        played = self.generator.play(order)
        return Sample(played, contender.cpu_seconds() - before)


def measure(options: argparse.Namespace) -> list[Comparison]:
    """Starts everything and measures every length of text."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        own, peers = start(options, folder, stack)
        print(
            f"{hardware().name}, {hardware().cores} cores, load average {os.getloadavg()[0]:.1f}, "
            f"{options.connections} connections, {options.rounds} rounds of {options.seconds:g} s, interleaved",
            file=sys.stderr,
        )
        benchmark = Benchmark(own, peers, options, stack.enter_context(Generator()))
        tokenizer = newest(options.repository, text_embedder.TOKENIZER.name) / "tokenizer.json"
        (folder / "requests").mkdir()
        return [
            benchmark.compare(tokens, real_texts(tokenizer, tokens, TEXTS), folder / "requests")
            for tokens in options.tokens
        ]


def main() -> None:
    """Measures and prints."""
    options = parse()
    try:
        comparisons = measure(options)
    except ServerError as error:
        sys.exit(f"error: {error}")
    verdicts = [verdict(comparison.rows[0], LIMIT) for comparison in comparisons]
    if options.json:
        print(json.dumps([asdict(comparison) for comparison in comparisons], indent=2))
    else:
        for comparison, words in zip(comparisons, verdicts, strict=True):
            print(f"{table(comparison)}\n{comparison.rows[0].name} at least {LIMIT:g} x at no worse p99: {words}\n")
    sys.exit(any(words == "missed" for words in verdicts))


if __name__ == "__main__":
    main()
