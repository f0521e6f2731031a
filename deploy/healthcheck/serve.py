"""Starts Triton over what is built of a repository: `serve.py tritonserver --model-repository=/models ...`.

Configs are in git and versions are not. Where one model has no version, `--load-model=*` loads all others, but Triton's
/v2/health/ready answers 400 for as long as the server runs, and who waits for it waits forever. So the models that are
built are named one by one then, and what is left out is said. Where none is built, Triton starts without any, and the
health check says so: an end would only be a restart.

It runs inside Triton's container, so it uses the standard library alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from infer import models_of, unbuilt

EVERYTHING = "--load-model=*"
REPOSITORY = "--model-repository="


def main() -> None:
    """Becomes Triton."""
    command = sys.argv[1:]
    stated = [argument.removeprefix(REPOSITORY) for argument in command if argument.startswith(REPOSITORY)]
    if not stated:
        sys.exit(f"serve.py needs {REPOSITORY}PATH among Triton's options; it got {' '.join(command) or 'none'}.")
    repository = Path(stated[0])
    missing = unbuilt(repository)
    if missing and EVERYTHING in command:
        print(f"not built, and left out: {', '.join(sorted(missing))}. To build: modelyard build", flush=True)
        built = [f"--load-model={model.name}" for model in models_of(repository) if model.name not in missing]
        command = [argument for argument in command if argument != EVERYTHING] + built
    os.execvp(command[0], command)  # noqa: S606 - Triton takes this process: signals and exit codes are its own


if __name__ == "__main__":
    main()
