"""The load generator, started and given orders."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import final

from measure.load_generator import Order, Round

SCRIPT = Path(__file__).with_name("load_generator.py")


@final
class Generator:
    """A process that sends requests; a context manager."""

    def __enter__(self) -> Generator:
        self._process = subprocess.Popen(
            [sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def play(self, order: Order) -> Round:
        """One round of load.

        Raises:
            RuntimeError: a request failed.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # both are pipes
        assert stdout is not None
        print(json.dumps(asdict(order)), file=stdin, flush=True)
        line = stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended; its error stands above")
        return Round(**json.loads(line))
