"""Ensembles that are asked for one of their outputs: lint and the real Triton agree on which fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelyard_client import Client
from modelyard_client.errors import InvalidInput
from modelyard_server.process import TritonServer
from support.pruned_ensembles import PRUNED, write_ensembles

pytestmark = pytest.mark.live


def test_what_lint_says_of_single_outputs_is_what_triton_does(
    serve: Callable[[Path], TritonServer], tmp_path: Path
) -> None:
    """An output that is said to fail alone fails with a deadlock, the others come; all together they always do."""
    server = serve(write_ensembles(tmp_path))
    with Client(f"grpc://{server.grpc_url}", deadline=30) as client:

        def answered(name: str, inputs: list[str], outputs: list[str]) -> bool:
            try:
                found = client.infer(name, {each: np.ones(1, np.float32) for each in inputs}, outputs=outputs)
            except InvalidInput as error:
                if "unexpected deadlock" not in str(error):
                    raise
                return False
            return found.keys() == set(outputs)

        for one in PRUNED:
            assert answered(one.name, [*one.inputs], [*one.outputs])
            failing = [name for name in one.outputs if not answered(one.name, [*one.inputs], [name])]
            assert failing == [*one.failing], one.name
