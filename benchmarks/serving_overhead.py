"""What serving costs: the text encoder behind the embedded Triton, beside the same sessions in this process.

    python benchmarks/serving_overhead.py

For texts of 32 and of 128 tokens, rounds are taken in pairs, served and in process right after one another and in turns
first, so that what else the machine does falls on both. In process the sessions have the options that the backend opens
its own with, as many as Triton has instances.

Three ratios of throughput, each with a 95 % interval over the pairs (Student's t of the logarithms):

raw         served over in process, with batches of max_batch_size in process.
less load   the same, but in process is granted only the cores that the load generator left: with g the CPU seconds
            that the generator used in a served round of s seconds, and C the cores, the divisor is
            in process x (1 - g / (C s)). Where Triton and the generator share all cores, this is what serving costs.
same batch  as `less load`, with batches in process of the mean size that Triton formed.

Saturation means that the next batch is always waiting: by default there are requests for a full batch of every instance
and one more under way. The added latency is the difference of the medians at one request under way; a lone request also
waits the queue delay of config.pbtxt, which is printed beside it. The exit status is 1 where the whole interval of
`less load` lies below 0.97.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from measure.in_process import InProcess, Speed, Tensors
from measure.overhead import Load, Pair, Result, show, summary, verdict
from measure.progress import progress
from measure.served import Served
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.threads import available_cores
from modelyard_server.errors import ServerError

MODEL = "text_embedder_encoder"
REPOSITORY = Path(__file__).parents[1] / "model_repository"
TOKENS = (32, 128)
# Of bert-base-uncased, where ordinary words begin.
FIRST_WORD, LAST_WORD = 1996, 29611


def texts(rows: int, tokens: int) -> Tensors:
    """Random words; the same for all rows, so that every batch has the same work."""
    words = np.random.default_rng(tokens).integers(FIRST_WORD, LAST_WORD, size=(1, tokens))
    return {"input_ids": np.repeat(words, rows, axis=0), "attention_mask": np.ones((rows, tokens), dtype=np.int64)}


class Benchmark:
    """Both sides, ready to be measured."""

    def __init__(self, served: Served, in_process: InProcess, config: ModelConfig, options: argparse.Namespace) -> None:
        self.served = served
        self.in_process = in_process
        self.max_batch = config.max_batch_size
        self.concurrency = options.concurrency or (config.instances() + 1) * config.max_batch_size
        self.options = options

    def check(self, tokens: int) -> None:
        """Both sides give one answer."""
        inputs = texts(1, tokens)
        served, own = self.served.answer(inputs, self.in_process.outputs[0]), self.in_process.answer(inputs)
        if not np.allclose(served, own, atol=1e-5):
            raise ServerError(f"served and in process differ by {np.abs(served - own).max()}: nothing to compare")

    def result(self, tokens: int, folder: Path) -> Result:
        """Measures one length of text."""
        self.check(tokens)
        request = self.served.store_request(texts(1, tokens), folder / f"{tokens}.request")
        warm = self.served.load([request], self.concurrency, self.options.seconds)
        batch = max(1, round(warm.batch(MODEL)))
        pairs = []
        for number in range(self.options.pairs):
            pairs.append(self._pair(tokens, request, batch, served_first=number % 2 == 0))
            progress(f"{tokens} tokens: pair {number + 1} of {self.options.pairs}")
        progress("")
        return summary(MODEL, tokens, pairs, available_cores())

    def _pair(self, tokens: int, request: Path, batch: int, *, served_first: bool) -> Pair:
        """In turns first: warmth and drift fall on both sides."""
        if served_first:
            load, own = self._load(request), self._own(tokens, batch)
        else:
            own, load = self._own(tokens, batch), self._load(request)
        lone = self.served.load([request], 1, self.options.seconds / 4).client.latency_s
        own_lone = self.in_process.latency(texts(1, tokens), self.options.seconds / 4)
        return Pair(load, *own, added_latency_s=lone - own_lone)

    def _load(self, request: Path) -> Load:
        return self.served.load([request], self.concurrency, self.options.seconds)

    def _own(self, tokens: int, batch: int) -> tuple[Speed, Speed]:
        full = self.in_process.throughput(texts(self.max_batch, tokens), self.options.seconds)
        if batch == self.max_batch:
            return full, full
        return full, self.in_process.throughput(texts(batch, tokens), self.options.seconds)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help=f"holds {MODEL}")
    parser.add_argument("--pairs", type=int, default=8, help="of rounds, for each length of text; at least 2")
    parser.add_argument("--seconds", type=float, default=3.0, help="a round")
    parser.add_argument("--concurrency", type=int, help="requests under way; default (instances + 1) x max_batch_size")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path) -> list[Result]:
    """Serves the model alone, from a repository of links, and measures every length of text."""
    model = options.repository.resolve() / MODEL
    if not (model / "1" / "model.onnx").is_file():
        raise ServerError(f"no {MODEL}/1/model.onnx in {options.repository}: run `modelyard build text_embedder` first")
    (folder / "repository").mkdir()
    (folder / "repository" / MODEL).symlink_to(model)
    with Served(folder / "repository", MODEL) as served:
        config = served.config()
        delay = int(config.raw.get("dynamic_batching", {}).get("max_queue_delay_microseconds", 0))
        print(
            f"{MODEL}: max_batch_size {config.max_batch_size}, {config.instances()} instance(s), queue delay "
            f"{delay / 1000:g} ms, {available_cores()} cores, load average {os.getloadavg()[0]:.1f}",
            file=sys.stderr,
        )
        benchmark = Benchmark(served, InProcess(config, model / "1"), config, options)
        return [benchmark.result(tokens, folder) for tokens in TOKENS]


def main() -> None:
    """Measures and prints."""
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        try:
            results = measure(options, Path(folder))
        except ServerError as error:
            sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        print("\n".join(show(result) for result in results))
    if any(verdict(result) == "missed" for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
