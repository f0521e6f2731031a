"""A copy of the build package for models to be added to, and the command on it: nothing is written into the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import modelyard_build
from modelyard_build.adoption import fallback
from modelyard_build.adoption.inspection import inspect
from modelyard_build.adoption.origin import Opened, Wish
from modelyard_build.adoption.trial import declared
from modelyard_build.model import PythonModel

PACKAGE = Path(modelyard_build.__file__).parent


@dataclass(frozen=True)
class Workplace:
    """Where a stranger works.

    Attributes:
        folder: with the stranger's files; commands run in it.
        package: the copy of `modelyard_build` that they change.
    """

    folder: Path
    package: Path

    @classmethod
    def at(cls, folder: Path) -> Workplace:
        """Copies the package below a folder."""
        package = folder / "build" / "modelyard_build"
        # With the compiled files: they are good for the copy, too.
        shutil.copytree(PACKAGE, package)
        (folder / "work").mkdir()
        return cls(folder / "work", package)

    @property
    def repository(self) -> Path:
        """The model repository that commands work on."""
        return self.folder / "model_repository"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `modelyard` with the copy in place of the tree's package."""
        # In front of what the installation itself puts on the path.
        start = (
            f"import sys; sys.path.insert(0, {str(self.package.parent)!r}); "
            "from modelyard_ops.cli import main; sys.argv[0] = 'modelyard'; main()"
        )
        return subprocess.run(
            [sys.executable, "-c", start, *arguments],
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )

    def state(self) -> dict[str, bytes]:
        """Every file that a command may write, with its content."""
        files = [*(self.package / "models").glob("*.*"), *self.repository.rglob("*")]
        return {str(path): path.read_bytes() for path in files if path.is_file()}


@contextmanager
def declared_as_it_is(wish: Wish, opened: Opened) -> Iterator[PythonModel]:
    """The step that the declaration of a module without a graph ends in, read as Python reads it."""
    assert opened.as_it_is is not None
    inspected = inspect(opened, lambda line: None)
    text = fallback.render(wish, opened, opened.as_it_is, inspected)
    with declared(text, wish.name, inspected.example) as model:
        assert isinstance(model, PythonModel)
        yield model
