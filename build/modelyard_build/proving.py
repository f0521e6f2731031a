"""What is served together is proven together, through a running Triton: systems first, then each candidate."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard_build import scratch
from modelyard_build.artefacts import Made, Workshop
from modelyard_build.assets import cache_dir, fetch
from modelyard_build.atomic import replacing
from modelyard_build.errors import BuildError, ServeFailed, VerificationFailed
from modelyard_build.model import AnyModel, Arrays, Ensemble, Model
from modelyard_build.plan import Planned
from modelyard_build.progress import Progress, Stopwatch
from modelyard_build.quality import EXACT, Quality
from modelyard_build.repository import config, layout
from modelyard_build.repository.hardware import hardware
from modelyard_build.rounding import joined_rows
from modelyard_build.served import PROTOCOLS, Serve, Served, evaluate, verify_python_model, verify_system
from modelyard_build.sources import pinned_assets
from modelyard_build.stage import Staged, cached_arrays, rows, write_golden
from modelyard_build.targets import BASE, CANDIDATES, target_of
from modelyard_build.wanted import serves

if TYPE_CHECKING:
    from modelyard_build.verify import Run

STEP_ITEMS = 200
REFERENCE_BATCH = 16


@dataclass(frozen=True)
class Proof:
    """What the served verification of one model brought."""

    evidence: dict[str, Any]
    metrics: dict[str, Any]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Prover:
    """Proves a system's models through servers.

    Attributes:
        planned: every model of the system.
        staged: what was made of those that are due.
        made: their candidates.
        workshops: of the PyTorch models among them, by name.
        serve: starts a Triton over a repository.
        progress: shows the work.
    """

    planned: Sequence[Planned]
    staged: Mapping[str, Staged]
    made: Mapping[str, list[Made]]
    workshops: Mapping[str, Workshop]
    serve: Serve
    progress: Progress

    @property
    def served(self) -> list[Planned]:
        """What is proven as config.pbtxt serves it: all but the PyTorch models that are proven with what calls them."""
        return [item for item in self.planned if not isinstance(item.model, Model) or not self.callers_of(item)]

    def systems(self) -> dict[str, Proof]:
        """Proves each stale model as config.pbtxt serves it; what was proven before is remembered."""
        due = [item for item in self.served if item.reason]
        remembered = {item.model.name: self._proof_path(item) for item in due}
        open_ = [item for item in due if not remembered[item.model.name].is_file()]
        if open_:
            with (
                scratch.system(self.planned, self.staged, self.made) as repository,
                self._started(repository) as served,
            ):
                for item in open_:
                    _remember(remembered[item.model.name], self.prove(item, served))
        return {item.model.name: _recall(remembered[item.model.name]) for item in due}

    def candidates(self) -> dict[str, list[Made]]:
        """Proves each candidate that runs here, behind what calls it or alone; one that fails there is refused."""
        return {
            item.model.name: [self._candidate(item, one) for one in self.made[item.model.name]]
            for item in self.planned
            if item.model.name in self.made
        }

    def _candidate(self, owner: Planned, one: Made) -> Made:
        callers = self.callers_of(owner)
        # The portable one is what the systems are proven with; what cannot run here is proven where it can.
        proven = one.wanted.candidate is BASE and all(item.reason for item in callers or [owner])
        # A config that is written by hand calls the tensors otherwise than the callers do.
        if proven or one.wanted.candidate.by_hand or not one.runs_here:
            return one
        path = _path([one.wanted.key, *(item.key for item in callers)])
        if not path.is_file():
            try:
                _remember(path, self.prove_candidate(owner, one))
            except (VerificationFailed, ServeFailed) as error:
                return self._refused(owner, one, error)
        proof = _recall(path)
        return replace(one, record={**one.record, "served": proof.evidence, "metrics": proof.metrics})

    def _refused(self, owner: Planned, one: Made, error: BuildError) -> Made:
        self.progress.say(f"{owner.model.name}: {one.name} is refused: {error}")
        retry = isinstance(error, ServeFailed)
        return replace(one, record={**one.record, "retry": retry}, refused=str(error))

    def callers_of(self, owner: Planned) -> list[Planned]:
        """The ensembles that have a model as a step, and the steps that call it."""
        return [item for item in self.planned if owner.model.name in item.steps]

    def prove_candidate(self, owner: Planned, one: Made) -> Proof:
        """Serves a candidate, behind what calls its model where anything does, and holds the answers against PyTorch's.

        Raises:
            VerificationFailed: an answer is further away than the candidate's class allows, or a task's figure is.
            ServeFailed: Triton does not load it, or does not answer.
        """
        served_as = target_of(one.wanted.candidate).served_quality(one.wanted.candidate, hardware())
        bound = self._cosine_bound(owner, served_as)
        quality = replace(served_as, min_cosine=bound, min_class_cosine=min(bound, served_as.min_class_cosine))
        watch = Stopwatch(owner.model.name, self.progress)
        evidence, metrics = {}, {}
        with (
            scratch.with_candidate(self.planned, owner, one, self.staged, self.made) as repository,
            watch.step(f"serve {one.name}"),
            self.serve(repository) as served,
        ):
            callers = self.callers_of(owner)
            for item in callers or [owner]:
                name = scratch.served_as(item.model.name, one)
                # One protocol: what it brings is the same for every backend, and proven with the systems.
                held = self._held(item, name, served, quality if callers else served_as, ("grpc",))
                evidence[item.model.name] = held
                metrics[item.model.name] = self._evaluate(item, name, served, quality)
        return Proof({"quality": quality.name, **evidence}, metrics, watch.seconds)

    def _cosine_bound(self, owner: Planned, quality: Quality) -> float:
        """What the class asks of this model's outputs: less, where PyTorch itself is further away in its dtype."""
        bounds: list[float] = [
            evidence["cosine_bound"]
            for one in self.made[owner.model.name]
            if one.wanted.candidate.quality.name == quality.name and not one.refused
            for evidence in one.record["verification"]["outputs"].values()
        ]
        return min([quality.min_cosine, *bounds])

    def prove(self, planned: Planned, served: Served) -> Proof:
        """Holds a model, as it is served, against its reference.

        Raises:
            VerificationFailed: naming what differs.
        """
        model = planned.model
        watch = Stopwatch(model.name, self.progress)
        quality = self._quality(planned)
        with watch.step("verify served"):
            evidence = self._held(planned, model.name, served, quality)
        if model.evaluation is None:
            return Proof(evidence, {}, watch.seconds)
        with watch.step("evaluate served"):
            metrics = self._evaluate(planned, model.name, served, quality)
        return Proof(evidence, metrics, watch.seconds)

    def _held(
        self,
        planned: Planned,
        served_as: str,
        served: Served,
        quality: Quality,
        protocols: Sequence[str] = PROTOCOLS,
    ) -> dict[str, Any]:
        """What a model answers under a name, held against its reference."""
        model = planned.model
        if isinstance(model, Model):
            return self._model_parity(planned, served_as, served, quality, protocols)
        if isinstance(model, Ensemble):
            return self._parity(planned, model, served_as, served, quality, protocols)
        files = fetch(pinned_assets(model), self.progress.say)
        if quality.name == EXACT.name:
            return verify_python_model(replace(model, name=served_as), served, files, items=STEP_ITEMS)
        if model.evaluation is not None:
            # Where a net rounds otherwise, a text or a picture that is made of its answers may be another, and as good.
            return {"judged_by_figures": True}
        inputs = model.examples(files, min(STEP_ITEMS, model.verified_items))
        return verify_system(model, served_as, served, inputs, model.reference(files, inputs), quality, ("grpc",))

    def _model_parity(
        self,
        planned: Planned,
        served_as: str,
        served: Served,
        quality: Quality,
        protocols: Sequence[str] = PROTOCOLS,
    ) -> dict[str, Any]:
        """A model that no ensemble uses: every case of its verification, asked of the server."""
        from modelyard_build.verify import compare

        reference = self.workshops[planned.model.name].reference

        def asked(protocol: str) -> Run:
            return lambda inputs: served.infer(served_as, inputs, protocol)

        return {protocol: compare(reference, asked(protocol), quality)["outputs"] for protocol in protocols}

    def _parity(
        self,
        planned: Planned,
        ensemble: Ensemble,
        served_as: str,
        served: Served,
        quality: Quality,
        protocols: Sequence[str],
    ) -> dict[str, Any]:
        files = fetch(pinned_assets(ensemble), self.progress.say)
        inputs = ensemble.examples(files, ensemble.verified_items)
        with self.progress.step(ensemble.name, "run PyTorch"):
            reference = cached_arrays(f"{planned.key}-examples", lambda: ensemble.reference(files, inputs))
        if planned.reason:
            count = ensemble.golden_items
            write_golden(self.staged[ensemble.name].beside, rows(inputs)[:count], rows(reference)[:count])
        return verify_system(ensemble, served_as, served, inputs, reference, quality, protocols)

    def _evaluate(self, planned: Planned, served_as: str, served: Served, quality: Quality) -> dict[str, Any]:
        model = planned.model
        if model.evaluation is None:
            return {}
        files = fetch(pinned_assets(model), self.progress.say)
        inputs, truth = model.evaluation.data(files)
        with self.progress.step(model.name, "evaluate PyTorch"):
            reference = cached_arrays(f"{planned.key}-evaluation", lambda: self._reference(model, files, inputs))
        answers = served.infer(served_as, inputs, "grpc")
        return evaluate(served_as, model.evaluation, reference, answers, truth, quality)

    def _reference(self, model: AnyModel, files: Mapping[str, Path], inputs: Arrays) -> Arrays:
        if not isinstance(model, Model):
            return model.reference(files, inputs)
        from modelyard_build.verify import run_module

        module, count, size = self.workshops[model.name].module, len(next(iter(inputs.values()))), REFERENCE_BATCH
        parts = [
            run_module(model, module, {name: array[at : at + size] for name, array in inputs.items()})
            for at in range(0, count, size)
        ]
        return {name: joined_rows([part[name] for part in parts]) for name in parts[0]}

    def _quality(self, planned: Planned) -> Quality:
        """The loosest class among the candidates that the configs of the model and of what it needs serve."""
        found = [EXACT]
        for item in self.planned:
            path = item.folder / layout.FILENAME
            if item.model.name in self._together(planned) and isinstance(item.model, Model) and path.exists():
                stated = config.read(path)
                served = [candidate for candidate in CANDIDATES if serves(stated, candidate)]
                found += [target_of(candidate).served_quality(candidate, hardware()) for candidate in served]
        return min(found, key=lambda quality: quality.min_cosine)

    def _proof_path(self, planned: Planned) -> Path:
        """Where a proof is kept: addressed by the keys of the models and by the configs that they are served with."""
        together = self._together(planned)
        involved = [item for item in self.planned if item.model.name in together]
        texts = [scratch.config_text(item, item.folder / layout.FILENAME, self._beside(item)) for item in involved]
        return _path([[item.key for item in involved], texts])

    def _together(self, planned: Planned) -> set[str]:
        """A model, what it calls, and what these call."""
        found = {planned.model.name}
        # Those that are called stand before their callers.
        for item in reversed(self.planned):
            if item.model.name in found:
                found |= item.steps.keys()
        return found

    def _beside(self, planned: Planned) -> Path:
        staged = self.staged.get(planned.model.name)
        return staged.beside if staged else planned.folder

    @contextlib.contextmanager
    def _started(self, repository: Path) -> Iterator[Served]:
        with contextlib.ExitStack() as stack:
            with self.progress.step("Triton", "start"):
                served = stack.enter_context(self.serve(repository))
            yield served


def _path(decisive: Any) -> Path:
    return cache_dir() / "proofs" / f"{hashlib.sha256(json.dumps(decisive).encode()).hexdigest()}.json"


def _remember(path: Path, proof: Proof) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(asdict(proof)))


def _recall(path: Path) -> Proof:
    return Proof(**json.loads(path.read_text()))
