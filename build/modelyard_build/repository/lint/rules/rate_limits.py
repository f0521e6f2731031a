"""MY418 and MY419: the rate limiter and its resources."""

from __future__ import annotations

from modelyard_build.repository.lint.instance_groups import stated_groups
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.values import whole_number
from modelyard_build.repository.lint.server_arguments import option, options
from modelyard_build.repository.lint.subjects import Config


@rule(
    "MY418",
    Severity.WARNING,
    summary="a rate limiter that the server has switched off",
    mend="Start the server with --rate-limit=execution_count, or take rate_limiter away.",
    verdict=Verdict.UNSEEN,
)
def rate_limiter_is_off(config: Config) -> Findings:
    """Triton loads it silently: without `--rate-limit` resources and priorities of instances mean nothing.

    This is said only where the server's arguments are known. The embedded server has no rate limiter.
    """
    arguments = config.settings.server_arguments
    if arguments is None or _rate_limits(arguments):
        return
    for path, group, _ in stated_groups(config):
        if group.HasField("rate_limiter"):
            yield config.raised(
                "rate_limiter does nothing: the server is started without --rate-limit=execution_count; add it, or "
                "take rate_limiter away",
                *path,
                "rate_limiter",
            )


def _rate_limits(arguments: tuple[str, ...]) -> bool:
    return option(arguments, "rate-limit") not in (None, "off")


@rule(
    "MY419",
    Severity.ERROR,
    summary="an instance that needs more of a resource than the server has",
    mend="Raise the number in --rate-limit-resource, or lower the count in rate_limiter.",
    verdict=Verdict.UNSEEN,
)
def resource_is_too_small(config: Config) -> Findings:
    """Triton refuses the model, and names what it would need.

    It says `Resource count for "R" is limited to 8 which will prevent scheduling of one or more model instances, the
    minimum required count is 40`. As soon as the server states one `--rate-limit-resource`, a resource that it does
    not state is limited to 0.
    """
    arguments = config.settings.server_arguments
    if arguments is None or not _rate_limits(arguments):
        return
    limits = _resource_limits(arguments)
    for path, group, _ in stated_groups(config):
        for index, resource in enumerate(group.rate_limiter.resources if limits else ()):
            limit = limits.get(resource.name, 0)
            if resource.count > limit:
                yield config.raised(
                    f"the instance needs {resource.count} of {resource.name!r}, and the server has {limit}: Triton "
                    "refuses the model; raise --rate-limit-resource, or lower count",
                    *path,
                    "rate_limiter",
                    "resources",
                    index,
                )


def _resource_limits(arguments: tuple[str, ...]) -> dict[str, int]:
    """The largest number of each resource out of `--rate-limit-resource=NAME:COUNT[:DEVICE]`."""
    limits: dict[str, int] = {}
    for value in options(arguments, "rate-limit-resource"):
        name, _, rest = value.partition(":")
        limits[name] = max(limits.get(name, 0), whole_number(rest.partition(":")[0]))
    return limits
