"""Which of the distribution's extras are installed: the light install has the client only."""

from __future__ import annotations

from importlib.util import find_spec

from modelyard_ops.errors import OpsError


def require_extra(extra: str, *modules: str) -> None:
    """Stops a command whose packages are not installed.

    Args:
        extra: the name of the extra that brings them.
        modules: what the command imports of it.

    Raises:
        OpsError: one of the modules is not installed.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise OpsError(
            f"this command needs {', '.join(missing)}, which is not installed. Run: pip install 'modelyard[{extra}]'"
        )
