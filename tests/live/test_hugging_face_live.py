"""`modelyard new`, `modelyard build` and the embedded Triton over an architecture of the transformers library each.

One server serves all of them; the table of what became of each is printed with `-s`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers

from modelyard_client import Client
from modelyard_server.process import TritonServer
from support import hugging_face
from support.hugging_face import ARCHITECTURES

# Every architecture is tried, built and proven before the first test; alone on the machine it takes ten minutes.
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(5400)]

# Every model in one process, which imports torch once; a line behind each says how it went.
DRIVER = """
import json, sys, time
from modelyard_ops.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv, started, code = ["modelyard", *arguments], time.monotonic(), 0
    try:
        main()
    except SystemExit as left:
        code = left.code
    print(f"\\n=== {code} {time.monotonic() - started:.1f}", flush=True)
"""
PACKAGE = Path(__file__).parents[2] / "build" / "modelyard_build"
SIZES = {"sequence": 11, "decoder_sequence": 7, "samples": 3210}
# The sum of two runtimes' rounding, as a share of an output's largest value.
TOLERANCE = 1e-4


@dataclass
class Adopted:
    """What became of an architecture.

    Attributes:
        folder: of the model.
        parameters: how many it has.
        said: what `modelyard new` printed.
        failed: whether it failed.
        seconds: how long it took.
    """

    folder: Path
    parameters: int
    said: str
    failed: bool
    seconds: float


@dataclass
class Everything:
    """Every architecture, and the repository in which those that could be adopted are built.

    Attributes:
        adopted: by the architecture's name.
        repository: the model repository.
    """

    adopted: dict[str, Adopted]
    repository: Path

    def manifest(self, name: str) -> dict[str, Any]:
        """The manifest of an architecture's first version."""
        path = self.repository / served_as(name) / "1" / "manifest.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found


@pytest.fixture(scope="module")
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """What the tests of this run need."""
    # The parameters of the tests that were selected: one architecture can be tried alone with -k.
    tests = [
        item for item in request.session.items if isinstance(item, pytest.Function) and item.path == Path(__file__)
    ]
    names = [str(item.callspec.params["name"]) for item in tests]
    folder = tmp_path_factory.mktemp("hugging_face")
    shutil.copytree(PACKAGE, folder / "source" / "modelyard_build", ignore=shutil.ignore_patterns("__pycache__"))
    models = {name: hugging_face.save(name, folder / name) for name in names}
    options = ("--repository", str(folder / "repository"))
    done = run(folder, [["new", served_as(name), "--from", str(folder / name), *options] for name in names])
    adopted = {
        name: Adopted(folder / name, model.num_parameters(), said, code != "0", seconds)
        for (name, model), (said, code, seconds) in zip(models.items(), done, strict=True)
    }
    good = [served_as(name) for name, one in adopted.items() if not one.failed]
    ((said, code, _),) = run(folder, [["build", *good, *options]])
    found = Everything(adopted, folder / "repository")
    print("\n" + table(found), said if code != "0" else "", sep="\n")
    return found


def served_as(name: str) -> str:
    """What an architecture is called in Triton."""
    return "hf_" + name.replace("-", "_")


def run(folder: Path, commands: list[list[str]]) -> list[tuple[str, str, float]]:
    """Commands of `modelyard`, on a copy of the package that they may write declarations into.

    Returns:
        What each printed, how it ended, and after how many seconds.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder / "source"), "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    said = re.split(r"\n=== (\S+) ([\d.]+)\n", done.stdout)
    assert len(said) == 3 * len(commands) + 1, done.stdout[-2000:]
    return [(said[at], said[at + 1], float(said[at + 2])) for at in range(0, len(said) - 1, 3)]


def table(everything: Everything) -> str:
    """A line for each architecture: parameters, axes, error, time."""
    rows = [f"{'architecture':31}{'parameters':>11}  {'error in floors':>15}  {'new':>5}  {'build':>6}  axes"]
    for name, one in everything.adopted.items():
        manifest = everything.manifest(name)
        proven = manifest.get("verification", {})
        floors = [output["max_error_in_floors"] for output in proven.get("grpc", {}).values()]
        worst = f"{max(floors):.2f}" if floors else "no graph" if proven else "not built"
        seconds = sum(manifest.get("seconds", {}).values())
        axes = ", ".join(dict.fromkeys(re.findall(r"\b(\w+ \d+ to \d+)", one.said.partition("\nbatch")[0])))
        rows.append(f"{name:31}{one.parameters:11,}  {worst:>15}  {one.seconds:5.0f}  {seconds:6.1f}  {axes or 'none'}")
    return "\n".join(rows)


@pytest.fixture(scope="module")
def client(everything: Everything, serve: Callable[[Path], TritonServer]) -> Iterator[Client]:
    with Client(f"grpc://{serve(everything.repository).grpc_url}") as found:
        yield found


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_architecture_is_adopted_built_and_served(everything: Everything, client: Client, name: str) -> None:
    """Without a line of code, Triton answers as transformers does for the same folder with its own attention."""
    assert not everything.adopted[name].failed, everything.adopted[name].said[-2000:]
    assert everything.manifest(name), "not built"
    model = getattr(transformers, ARCHITECTURES[name].cls).from_pretrained(everything.adopted[name].folder).eval()
    metadata = client.metadata(served_as(name))
    sound = any(one.name == "input_values" for one in metadata.inputs)
    inputs = {one.name: drawn(one.name, one.shape[1:], "samples" if sound else "sequence") for one in metadata.inputs}
    with torch.inference_mode():
        expected = model(**{key: torch.from_numpy(array) for key, array in inputs.items()})
    answer = client.infer(served_as(name), inputs)
    for output in metadata.outputs:
        wanted = expected[output.name].numpy()
        np.testing.assert_allclose(answer[output.name], wanted, atol=TOLERANCE * float(np.abs(wanted).max()), rtol=0)


def drawn(name: str, dims: Sequence[int], axis: str) -> npt.NDArray[Any]:
    """Two items of an input that the build has not seen."""
    generator = np.random.default_rng(7)
    size = SIZES["decoder_sequence" if name == "decoder_input_ids" else axis]
    shape = (2, *(size if dim < 0 else dim for dim in dims))
    if name == "attention_mask":
        mask = np.ones(shape, np.int64)
        mask[1, shape[1] // 2 :] = 0
        return mask
    if name == "token_type_ids":
        return generator.integers(0, 2, shape, dtype=np.int64)
    if name.endswith("input_ids"):
        return generator.integers(3, 290, shape, dtype=np.int64)
    return generator.standard_normal(shape, dtype=np.float32)
