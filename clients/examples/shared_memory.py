"""Hands tensors to a server on the same machine through system shared memory.

python clients/examples/shared_memory.py --url grpc://127.0.0.1:8001
"""

from __future__ import annotations

import argparse

import numpy as np

from modelyard_client import Client

MODEL = "text_embedder_encoder"


def main() -> None:
    """Runs the encoder on the same tokens over the network and through shared memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    with Client(parser.parse_args().url) as client:
        shape = (client.config(MODEL).max_batch_size, 128)
        tokens = np.random.default_rng(0).integers(1000, 30000, shape)
        sent = client.infer(MODEL, {"input_ids": tokens, "attention_mask": np.ones(shape, np.int64)})

        with client.shared_memory(MODEL, {"input_ids": shape, "attention_mask": shape}) as memory:
            memory["attention_mask"][...] = 1
            memory["input_ids"][...] = tokens  # written in place; a camera or decoder could write here itself
            shared = memory.infer()
            difference = np.abs(shared["embedding"] - sent["embedding"]).max()
            print(f"{shared!r}\nlargest difference to the network: {difference:.1e}")


if __name__ == "__main__":
    main()
