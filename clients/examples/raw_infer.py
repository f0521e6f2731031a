"""Asks a model what it takes, calls it with arrays, and shows what an error says.

python clients/examples/raw_infer.py --url grpc://127.0.0.1:8001
"""

from __future__ import annotations

import argparse

import numpy as np

from modelyard_client import Client
from modelyard_client.errors import InvalidInput

MODEL = "text_embedder_encoder"


def main() -> None:
    """Runs the encoder on two rows of tokens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    with Client(parser.parse_args().url, deadline=10) as client:
        client.wait_ready(MODEL)
        metadata = client.metadata(MODEL)
        for spec in (*metadata.inputs, *metadata.outputs):
            print(f"{spec.name}: {spec.datatype} {list(spec.shape)}")

        tokens = np.array([[101, 7592, 2088, 102], [101, 7592, 102, 0]], dtype=np.int64)
        inputs = {"input_ids": tokens, "attention_mask": (tokens > 0).astype(np.int64)}
        result = client.infer(MODEL, inputs, request_id="example-1")
        print(f"{result!r} answered request {result.request_id}")

        try:
            client.infer(MODEL, {**inputs, "input_ids": tokens.astype(np.int32)})
        except InvalidInput as error:
            print(f"as expected: {error}")


if __name__ == "__main__":
    main()
