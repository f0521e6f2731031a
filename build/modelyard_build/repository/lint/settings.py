"""What a repository is held against: a release of Triton, a machine, and what its owner asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelyard_build.repository.releases import DEFAULT_RELEASE, Release, release


@dataclass(frozen=True)
class Machine:
    """The machine that will serve.

    Attributes:
        name: as the user named it, such as "cpu", "l4" or "h200".
        cores: CPUs that the server may use; None: unknown, so nothing is said about them.
        compute_capability: of its GPUs, such as "9.0"; empty: it has none.
        gpus: how many it has.
    """

    name: str = "any"
    cores: int | None = None
    compute_capability: str = ""
    gpus: int = 0


@dataclass(frozen=True)
class Settings:
    """What the rules may ask for.

    Attributes:
        release: Triton's release that will serve.
        machine: the machine that will; None: any, so the rules about GPUs and cores say nothing.
        latency_budget_ms: what a request of a model may take, by model name, "*" for every other one.
        server_arguments: those of the server that are known, such as "--cache-config=local,size=1048576".
    """

    release: Release = field(default_factory=lambda: release(DEFAULT_RELEASE))
    machine: Machine | None = None
    latency_budget_ms: Mapping[str, float] = field(default_factory=dict)
    server_arguments: tuple[str, ...] | None = None
