"""The encoder as the peers run it: the tokenizer and ONNX Runtime in one process."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

MAX_LENGTH = 256
MAX_BATCH_SIZE = 32
# How long a batch may wait to be filled, as in Modelyard's config.pbtxt.
MAX_DELAY_S = 0.002


@dataclass(frozen=True)
class Options:
    """The command line of every peer."""

    model: Path
    tokenizer: Path
    port: int


def parse() -> Options:
    """Reads it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True, help="model.onnx")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--port", type=int, required=True, help="on the loopback interface")
    return Options(**vars(parser.parse_args()))


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


class Encoder:
    """Texts in, unit vectors out.

    Args:
        options: where the model and its tokenizer are.
        threads: of one run.
    """

    def __init__(self, options: Options, threads: int) -> None:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        # Threads that spin between runs take the cores from the web server.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(options.model), settings, providers=["CPUExecutionProvider"])
        self._tokenizer: Any = Tokenizer.from_file(str(options.tokenizer))
        self._tokenizer.enable_truncation(MAX_LENGTH)
        self._tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """FP32 [len(texts), 384]."""
        encodings = self._tokenizer.encode_batch(list(texts))
        inputs = {
            "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
        }
        embeddings: npt.NDArray[np.float32] = self._session.run(["embedding"], inputs)[0]
        return embeddings
