"""MY501 to MY507 and MY517 to MY520: what may stand in an ensemble, and the models of its steps."""

from __future__ import annotations

from modelyard_build.repository.lint.mends import without
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.ensemble_graph import config_beside, steps_of
from modelyard_build.repository.lint.rules.tensor_texts import VARIABLE, did_you_mean
from modelyard_build.repository.lint.subjects import Config, Model

# The model_version that means the newest.
NEWEST = -1
_FORBIDDEN = ("instance_group", "optimization", "model_warmup")


@rule(
    "MY501",
    Severity.ERROR,
    summary="a field that an ensemble may not have",
    mend="Take the field away; it belongs in the configs of the steps' models.",
    verdict=Verdict.REFUSES,
)
def field_is_forbidden(config: Config) -> Findings:
    """An ensemble runs nothing itself: it has no backend, no instances, nothing to optimise or to warm up.

    Triton says `instance group should not be specified for ensemble '…'`, `optimization should not be specified for
    ensemble '…'`, `model_warmup can not be specified for ensemble '…'`, or `Ensemble model '…' must have platform type
    'ensemble' and empty backend type`.
    """
    message = config.message
    if message.platform != "ensemble":
        return
    if message.backend:
        yield config.raised(
            f"an ensemble has no backend, and {message.backend!r} is stated; take it away",
            "backend",
            fix=without(config, "backend"),
        )
    if message.HasField("ensemble_scheduling"):
        for name in _FORBIDDEN:
            if config.states(name) and not _is_empty(config, name):
                yield config.raised(f"an ensemble has no {name}; state it in the configs of its steps", name)


def _is_empty(config: Config, name: str) -> bool:
    """Whether a repeated field is stated as an empty list, which is nothing."""
    value = getattr(config.message, name)
    return hasattr(value, "__len__") and not len(value)


@rule(
    "MY502",
    Severity.ERROR,
    summary="an ensemble without steps",
    mend="Write `ensemble_scheduling` with a `step` for each model.",
    verdict=Verdict.REFUSES,
)
def ensemble_without_steps(config: Config) -> Findings:
    """Triton says `must specify 'step' for ensemble '…'`, or `ensemble scheduling must be set for ensemble …`."""
    if config.is_ensemble and not config.message.ensemble_scheduling.step:
        field = "ensemble_scheduling" if config.states("ensemble_scheduling") else "platform"
        yield config.raised("the ensemble has no step; write one for each of its models", field)


@rule(
    "MY503",
    Severity.ERROR,
    summary="steps in a model that is no ensemble",
    mend='Write `platform: "ensemble"`, and no backend.',
    verdict=Verdict.REFUSES,
)
def steps_without_the_platform(config: Config) -> Findings:
    """Triton says `ensemble scheduling cannot be set for model '…' whose platform is not ensemble`.

    Without platform and backend it cannot tell what the model is: `Could not determine backend for model '…'`.
    """
    if config.message.HasField("ensemble_scheduling") and not config.is_ensemble:
        what = config.message.platform or config.message.backend
        yield config.raised(
            f'ensemble_scheduling stands in a model of {what!r}; write platform: "ensemble" and no backend'
            if what
            else 'ensemble_scheduling stands without platform: "ensemble"; write it',
            "ensemble_scheduling",
        )


@rule(
    "MY504",
    Severity.ERROR,
    summary="a step without model_name, input_map or output_map",
    mend="State the step's model, and a tensor of the ensemble for each of its inputs and outputs.",
    verdict=Verdict.REFUSES,
)
def step_is_incomplete(config: Config) -> Findings:
    """Triton says `must specify 'input_map' in step 0 of ensemble '…'`, and likewise of the others."""
    for step in steps_of(config):
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step.message, field):
                yield config.raised(f"{step} has no {field}; state it", *step.path)


@rule(
    "MY505",
    Severity.ERROR,
    summary="a step of a model that is not there",
    mend="Correct model_name, or publish the model into a repository of the same server.",
    verdict=Verdict.REFUSES,
)
def model_is_not_there(config: Config) -> Findings:
    """Triton says `ensemble … contains models that are not available or ambiguous: …`.

    A model may stand in another repository of the same server; where only one is linted, that cannot be seen.
    """
    for step in steps_of(config):
        if step.name and step.model is None:
            close = did_you_mean(step.name, config.model.repository.models)
            yield config.raised(
                f"there is no model {step.name!r} in the repository{close or '; publish it, or correct model_name'}",
                *(*step.path, "model_name"),
            )


@rule(
    "MY506",
    Severity.ERROR,
    summary="a step of a version that is not served",
    mend="Write `model_version: -1`, the newest version, or one that version_policy of the step's model serves.",
    verdict=Verdict.REFUSES,
)
def version_is_not_served(config: Config) -> Findings:
    """A step without model_version asks for version 0, not for the newest.

    Triton says `ensemble '…' depends on '…' whose required version 0 is not loaded`.
    """
    for step in steps_of(config):
        version = step.message.model_version
        if version == NEWEST or step.model is None:
            continue
        model = config_beside(config, step.model)
        served = [each.number for each in model.served] if model is not None else None
        # Without a version the step's model is refused itself.
        if served and version not in served:
            stated = config.states(*step.path, "model_version")
            asks = f"asks for version {version}" if stated else "has no model_version, which asks for version 0"
            yield config.raised(
                f"{step} {asks}, served is {', '.join(map(str, served))}; write model_version: -1",
                *(*step.path, "model_version"),
            )


@rule(
    "MY507",
    Severity.ERROR,
    summary="ensembles that are steps of one another",
    mend="Take the step away that leads back.",
    verdict=Verdict.REFUSES,
)
def ensemble_is_its_own_step(config: Config) -> Findings:
    """Triton says `circular dependency between ensembles: m -> ... -> n -> m`."""
    for step in steps_of(config):
        if step.model is not None and _leads_to(step.model, config):
            yield config.raised(
                f"{step} leads back to {config.model.name!r}; take it away", *(*step.path, "model_name")
            )


def _leads_to(model: Model, config: Config) -> bool:
    """Whether the steps of a model, or theirs, are the ensemble's own."""
    seen: set[str] = set()
    waiting = [model]
    while waiting:
        current = waiting.pop()
        if current.folder == config.model.folder:
            return True
        if current.name not in seen and (beside := config_beside(config, current)):
            seen.add(current.name)
            waiting += [step.model for step in steps_of(beside) if step.model is not None]
    return False


@rule(
    "MY517",
    Severity.ERROR,
    summary="an ensemble takes larger batches than one of its steps",
    mend="Lower the ensemble's max_batch_size to the smallest of its steps.",
    verdict=Verdict.REFUSES,
)
def batch_above_a_step(config: Config) -> Findings:
    """An ensemble does not split batches.

    Triton says `ensemble … allows maximum batch size 8, but it contains model … which only allows maximum batch size
    to be 4`.
    """
    own = config.message.max_batch_size
    for step in steps_of(config):
        most = step.tensors.message.max_batch_size if step.tensors else 0
        if 0 < most < own:
            yield config.raised(f"max_batch_size is {own}, and {step} takes {most} at most; lower it", "max_batch_size")


@rule(
    "MY518",
    Severity.WARNING,
    summary="a step that takes no batch in an ensemble that does",
    mend="Set max_batch_size in the step's model, or to 0 in the ensemble.",
    verdict=Verdict.LOADS,
)
def step_takes_no_batch(config: Config) -> Findings:
    """It loads and answers requests of one item, and refuses the first larger one.

    `in ensemble …, unexpected shape for input 'x' for model …. Expected [1,4], got [2,4]`. Where the first of the
    step's dims is -1 the batch passes through.
    """
    for step in steps_of(config):
        tensors = step.tensors
        if tensors is None or tensors.message.max_batch_size or config.message.max_batch_size <= 1:
            continue
        fixed = [
            message.name
            for message in tensors.message.input
            if message.name in step.message.input_map and message.dims and message.dims[0] != VARIABLE
        ]
        if fixed:
            yield config.raised(
                f"{step} takes no batch (max_batch_size 0), the ensemble {config.message.max_batch_size}: its input "
                f"{fixed[0]!r} refuses all but one item",
                *(*step.path, "model_name"),
            )


@rule(
    "MY519",
    Severity.WARNING,
    summary="a step that may answer many times",
    mend="See that all clients of the ensemble stream over gRPC, or take the step out.",
    verdict=Verdict.LOADS,
)
def step_is_decoupled(config: Config) -> Findings:
    """An ensemble with a decoupled step is decoupled, too: only a gRPC stream gets its answers.

    Over HTTP: `doesn't support models with decoupled transaction policy`.
    """
    if config.message.model_transaction_policy.decoupled or config.message.response_cache.enable:
        return
    for step in steps_of(config):
        if step.tensors and step.tensors.message.model_transaction_policy.decoupled:
            yield config.raised(
                f"{step} is decoupled, so the ensemble answers over gRPC streams alone; say so with "
                "model_transaction_policy { decoupled: true }",
                *(*step.path, "model_name"),
            )


@rule(
    "MY520",
    Severity.ERROR,
    summary="a response cache over a step that may answer many times",
    mend="Take response_cache away.",
    verdict=Verdict.REFUSES,
)
def cache_over_a_decoupled_step(config: Config) -> Findings:
    """Triton says `Response Cache does not currently support model … with 'decoupled' transaction policy`."""
    if not config.message.response_cache.enable or config.message.model_transaction_policy.decoupled:
        return
    for step in steps_of(config):
        if step.tensors and step.tensors.message.model_transaction_policy.decoupled:
            yield config.raised(
                f"{step} is decoupled, so the ensemble cannot have a response cache; take it away", "response_cache"
            )
