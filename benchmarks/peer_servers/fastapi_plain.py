"""FastAPI over ONNX Runtime: one request, one run, in a pool with a thread for each core."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI

from peer_servers.encoder import Encoder, cores, parse
from peer_servers.web import serve


def main() -> None:
    """Serves."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    options = parse()
    encoder = Encoder(options, threads=1)
    pool = ThreadPoolExecutor(cores())

    async def embed(text: str) -> npt.NDArray[np.float32]:
        found = await asyncio.get_running_loop().run_in_executor(pool, encoder.embed, [text])
        row: npt.NDArray[np.float32] = found[0]
        return row

    serve(FastAPI(), embed, options.port)


if __name__ == "__main__":
    main()
