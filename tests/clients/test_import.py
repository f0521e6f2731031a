"""What an import brings in."""

from __future__ import annotations

import subprocess
import sys

import modelyard_client


def test_everything_public_can_be_imported() -> None:
    """Names are imported when they are asked for; each of them is there."""
    assert all(getattr(modelyard_client, name) is not None for name in modelyard_client.__all__)
    assert sorted(modelyard_client._MODULES) == sorted(modelyard_client.__all__)
    assert not hasattr(modelyard_client, "Clinet")


def test_errors_come_without_the_network_libraries() -> None:
    """A command that only catches errors starts at once."""
    code = "import sys, modelyard_client.errors; print({'grpc', 'aiohttp', 'numpy', 'tritonclient'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_blocking_client_comes_without_the_async_one() -> None:
    """Nor does a blocking program wait for asyncio's HTTP library."""
    code = "import sys; from modelyard_client import Client; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
