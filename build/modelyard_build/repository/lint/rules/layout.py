"""MY1xx: the files and folders of a model, and whether Triton can read its config at all."""

from __future__ import annotations

from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.subjects import Config


@rule(
    "MY101",
    Severity.ERROR,
    summary="config.pbtxt is not a config",
    mend="Correct the line that is named; every field and value that Triton knows is in the proposal.",
    verdict=Verdict.REFUSES,
)
def unparsable(config: Config) -> Findings:
    """Triton reads the file with protobuf's text format.

    One misspelt word and the model does not load; the client sees "failed to poll from model repository",
    and only the server's log has the line:
    `Error parsing text-format inference.ModelConfig: 3:1: Message type "inference.ModelConfig" has no field named "…"`.
    """
    if config.unreadable:
        yield Raised(f"{config.path.name} {config.unreadable}", config.path)
        return
    for problem in config.bound.problems:
        yield Raised(problem.message, config.path, problem.start, problem.end)


@rule(
    "MY102",
    Severity.ERROR,
    summary="name is not the folder's",
    mend="Leave `name` out: Triton takes the folder's.",
    verdict=Verdict.REFUSES,
)
def name_is_not_the_folder(config: Config) -> Findings:
    """Triton refuses a model whose config has another name than its folder. A copied folder is the usual reason."""
    name = config.message.name
    if name and name != config.model.name:
        yield config.raised(f"name is {name!r}, the folder is {config.model.name!r}; leave name out", "name")
