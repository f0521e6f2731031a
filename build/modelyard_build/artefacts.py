"""What is made of a model for each backend: written, proven against PyTorch, or refused with the reason.

Files, conversions and proofs stay in the cache under the hash of what decides them: none is made twice, and an
interrupted build goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard_build.assets import cache_dir, fetch
from modelyard_build.atomic import replacing
from modelyard_build.errors import ArtefactFailed, BuildError, VerificationFailed
from modelyard_build.model import Model
from modelyard_build.progress import Progress, Stopwatch
from modelyard_build.quality import Quality
from modelyard_build.repository import manifest
from modelyard_build.repository.releases import Release
from modelyard_build.sources import BASE_PRECISION, graph_key, libraries, pinned_assets
from modelyard_build.stage import Staged, new_folder
from modelyard_build.targets import BASE, published_as, target_of
from modelyard_build.targets.target import Source, of_items
from modelyard_build.wanted import Wanted

if TYPE_CHECKING:
    from torch import nn

    from modelyard_build.verify import Reference, Run

# What a proof was held on: the artefact itself, or the graph it was written from where nothing here can run it.
ARTEFACT, GRAPH = "artefact", "graph"
# The graphs whose every node a CPU has a kernel for.
ON_CPUS = ("fp32", "int8")


@dataclass(frozen=True)
class Made:
    """A candidate that was made and proven, or refused.

    Attributes:
        wanted: what was asked for.
        folder: where its files lie.
        record: what the manifest tells of it.
        refused: why it is not published; empty where it is.
    """

    wanted: Wanted
    folder: Path
    record: dict[str, Any]
    refused: str

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.wanted.candidate.name

    @property
    def runs_here(self) -> bool:
        """Whether the artefact itself was proven, and this machine can run it: another one may have added it."""
        candidate = self.wanted.candidate
        proven = not self.refused and self.record["proven"] == ARTEFACT
        return proven and not (self.wanted.unavailable or target_of(candidate).cannot_run(candidate))


@dataclass
class Workshop:
    """Everything that the candidates of one model share, each made when it is first needed.

    Attributes:
        staged: the model's graph and samples.
        release: the Triton release that is to load the artefacts.
        progress: shows the work.
        reports: of the conversions that were asked for, by precision.
        evidence: of graphs that were proven in place of their artefacts, by precision and class.
    """

    staged: Staged
    release: Release
    progress: Progress
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    evidence: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        """The declaration."""
        assert isinstance(self.staged.planned.model, Model)  # noqa: S101  # only PyTorch models have candidates
        return self.staged.planned.model

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """The fetched assets."""
        return fetch(pinned_assets(self.model), self.progress.say)

    @cached_property
    def module(self) -> nn.Module:
        """The PyTorch module."""
        with self.progress.step(self.model.name, "load"):
            return self.model.load(self.files)

    @cached_property
    def reference(self) -> Reference:
        """PyTorch's answers to the cases of the verification."""
        from modelyard_build import verify

        with self.progress.step(self.model.name, "run PyTorch in float64"):
            return verify.Reference.of(self.model, self.module, self.files)

    def source(self, quality: Quality) -> Source:
        """What a target makes an artefact from."""
        return Source(
            self.model,
            self.files,
            lambda: self.module,
            lambda precision: self.graph(precision, quality),
            self.release,
            self.progress,
        )

    def graph(self, precision: str, quality: Quality) -> Path:
        """The ONNX graph in a precision.

        Raises:
            BuildError: the graph cannot be had in it.
        """
        base = self.staged.graph / "model.onnx"
        if precision == BASE_PRECISION:
            return base
        folder = cache_dir() / "graphs" / graph_key(self.staged.planned.key, precision)
        if not folder.is_dir():
            self._convert(precision, base, quality, folder)
        self.reports[precision] = json.loads((folder / "report.json").read_text())
        return folder / "model.onnx"

    def _convert(self, precision: str, base: Path, quality: Quality, folder: Path) -> None:
        from modelyard_build.precision import convert
        from modelyard_build.targets import onnxruntime

        with new_folder(folder) as partial:
            try:
                converted = convert(precision, base, self.source(quality), quality)
            except (BuildError, MemoryError):
                raise
            except Exception as error:
                # A graph that came as a file may hold what no conversion knows: sequences, types of its own.
                raise ArtefactFailed(
                    f"{self.model.name}: the graph cannot be had in {precision}: {' '.join(str(error).split())[:300]}"
                ) from error
            onnxruntime.write(converted.proto, partial)
            (partial / "report.json").write_text(json.dumps(converted.report))


def make(workshop: Workshop, due: tuple[Wanted, ...]) -> list[Made]:
    """Makes and proves candidates of a model, or finds them made.

    Raises:
        BuildError: the portable candidate failed; any other that fails is refused, and the rest goes on.
    """
    return [_make(workshop, item) for item in due]


def published(latest: Path) -> list[Made]:
    """The candidates that a version holds; those that today's targets no longer know are left out."""
    found = []
    for name, record in manifest.read(latest).candidates.items():
        candidate = published_as(name, record["filename"])
        if candidate is not None and not record["refused"]:
            unavailable = target_of(candidate).missing(candidate)
            found.append(Made(Wanted(candidate, "", record["key"], unavailable), latest, record, ""))
    return found


def _make(workshop: Workshop, wanted: Wanted) -> Made:
    folder = cache_dir() / "artefacts" / wanted.artefact_key
    remembered = cache_dir() / "evidence" / f"{wanted.key}.json"
    if remembered.is_file() and folder.is_dir():
        return Made(wanted, folder / "files", **json.loads(remembered.read_text()))
    made = _try(workshop, wanted, folder)
    # A verdict stands; a full disk or too little memory may be otherwise the next time.
    if not made.record["retry"]:
        with replacing(remembered) as partial:
            partial.write_text(json.dumps({"record": made.record, "refused": made.refused}))
    return made


def _try(workshop: Workshop, wanted: Wanted, folder: Path) -> Made:
    candidate, name = wanted.candidate, workshop.model.name
    watch = Stopwatch(name, workshop.progress)
    record = {**_described(wanted), "retry": False}
    refused = ""
    try:
        if not folder.is_dir():
            # A conversion shows steps of its own.
            workshop.graph(candidate.graph, candidate.quality)
            with watch.step(f"write {candidate.name}"):
                _write(workshop, wanted, folder)
        record["artefact"] = json.loads((folder / "record.json").read_text())
        with watch.step(f"verify {candidate.name}"):
            record["verification"], record["proven"], record["not_run"] = _prove(workshop, wanted, folder / "files")
    except BuildError as error:
        if candidate is BASE:
            raise
        workshop.progress.say(f"{name}: {candidate.name} is refused: {error}")
        record["retry"] = not isinstance(error, VerificationFailed)
        refused = str(error)
    return Made(wanted, folder / "files", {**record, "seconds": watch.seconds}, refused)


def _described(wanted: Wanted) -> dict[str, Any]:
    candidate = wanted.candidate
    return {
        "key": wanted.key,
        "target": candidate.target,
        "precision": candidate.precision,
        "quality": candidate.quality.name,
        "filename": candidate.filename,
        "libraries": libraries(target_of(candidate).distributions),
    }


def _write(workshop: Workshop, wanted: Wanted, folder: Path) -> None:
    candidate = wanted.candidate
    with new_folder(folder) as partial:
        (partial / "files").mkdir()
        with _quiet("transformers"):
            record = target_of(candidate).write(candidate, workshop.source(candidate.quality), partial / "files")
        if candidate.graph in workshop.reports:
            record = {**record, "graph": workshop.reports[candidate.graph]}
        (partial / "record.json").write_text(json.dumps(record))


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """A library's warnings about a module that is traced in a form it does not know are no news."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _prove(workshop: Workshop, wanted: Wanted, files: Path) -> tuple[dict[str, Any], str, str]:
    """The evidence, on what it was held, and why the artefact itself did not run."""
    from modelyard_build import verify

    candidate, target = wanted.candidate, target_of(wanted.candidate)
    if not_run := target.cannot_run(candidate):
        return _graph_evidence(workshop, wanted), GRAPH, not_run
    run = of_items(workshop.model, target.runner(candidate, files, workshop.model))
    return verify.compare(workshop.reference, run, candidate.quality), ARTEFACT, ""


def _graph_evidence(workshop: Workshop, wanted: Wanted) -> dict[str, Any]:
    """Of one graph in one class once, however many candidates are written from it."""
    from modelyard_build import verify

    candidate = wanted.candidate
    known = workshop.evidence
    if (candidate.graph, candidate.quality.name) not in known:
        run = _graph_runner(workshop, wanted)
        known[candidate.graph, candidate.quality.name] = verify.compare(workshop.reference, run, candidate.quality)
    return known[candidate.graph, candidate.quality.name]


def _graph_runner(workshop: Workshop, wanted: Wanted) -> Run:
    """Runs the graph node by node on the CPU, with the rounding that its dtypes have on the device it is for."""
    import onnx

    from modelyard_build.precision import casting, sessions

    proto = onnx.load(workshop.graph(wanted.candidate.graph, wanted.candidate.quality))
    session = sessions.Session(proto if wanted.candidate.graph in ON_CPUS else casting.emulated(proto))
    return of_items(workshop.model, session)


def as_record(made: Made) -> dict[str, Any]:
    """A candidate as it stands in the manifest."""
    names = [] if made.refused else sorted(path.relative_to(made.folder).as_posix() for path in _files(made.folder))
    return {**made.record, "files": names, "refused": made.refused}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
