"""LitServe over ONNX Runtime, with LitServe's own batching."""

# LitServe reads the annotations of decode_request as they stand: no `from __future__ import annotations` here.
import os
from typing import Any

import litserve
import numpy as np
import numpy.typing as npt
from fastapi import Request

from peer_servers.encoder import MAX_BATCH_SIZE, MAX_DELAY_S, Encoder, Options, cores, parse


class Embedder(litserve.LitAPI):  # type: ignore[misc]  # untyped where it is not installed
    """Its worker process holds the encoder."""

    def __init__(self, options: Options) -> None:
        super().__init__(max_batch_size=MAX_BATCH_SIZE, batch_timeout=MAX_DELAY_S, api_path="/embed")
        self.options = options

    def setup(self, device: str) -> None:
        """Loads."""
        self.encoder = Encoder(self.options, threads=cores())

    def decode_request(self, request: Request, **_: Any) -> str:
        """The text; what comes is the request's JSON, whatever LitServe calls it."""
        text: str = request["text"]
        return text

    def batch(self, inputs: list[str]) -> list[str]:
        """They stay a list."""
        return inputs

    def predict(self, x: list[str], **_: Any) -> npt.NDArray[np.float32]:
        """One run."""
        return self.encoder.embed(x)

    def unbatch(self, output: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """A row for each."""
        return list(output)

    def encode_response(self, output: npt.NDArray[np.float32], **_: Any) -> dict[str, Any]:
        """As JSON takes it."""
        return {"embedding": output.tolist()}


def main() -> None:
    """Serves."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    options = parse()
    server = litserve.LitServer(Embedder(options), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=options.port, num_api_servers=1, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
