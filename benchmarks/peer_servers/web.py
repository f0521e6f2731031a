"""What the FastAPI peers share: the app's one route, and uvicorn with its fast parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np
import numpy.typing as npt
import orjson
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

Embed = Callable[[str], Awaitable[npt.NDArray[np.float32]]]


class Request(BaseModel):  # type: ignore[misc]  # untyped where it is not installed
    """A text."""

    text: str


def serve(app: FastAPI, embed: Embed, port: int) -> None:
    """POST /embed {"text": …} gives {"embedding": […]}; serves until it is stopped."""

    @app.post("/embed")  # type: ignore[untyped-decorator]  # likewise
    async def answer(request: Request) -> Response:
        embedding = await embed(request.text)
        content = orjson.dumps({"embedding": embedding}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(content, media_type="application/json")

    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False
    )
