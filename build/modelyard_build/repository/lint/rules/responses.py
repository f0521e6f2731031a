"""MY321 to MY323: answers from a cache, and answers in any number."""

from __future__ import annotations

from modelyard_build.repository.lint.mends import without
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.schedulers import GRAPH_BACKENDS, scheduler
from modelyard_build.repository.lint.server_arguments import option
from modelyard_build.repository.lint.subjects import Config


@rule(
    "MY321",
    Severity.ERROR,
    summary="a response cache for a model that cannot have one",
    mend="Take response_cache away.",
    verdict=Verdict.REFUSES,
)
def response_cache_is_refused(config: Config) -> Findings:
    """Triton refuses the model.

    It says `Response Cache does not currently support model … with 'decoupled' transaction policy. Please disable the
    response cache.`, or `… with sequence batching scheduler. …`.
    """
    message = config.message
    if not message.response_cache.enable:
        return
    against = "decoupled answers" if message.model_transaction_policy.decoupled else ""
    if scheduler(config) == "sequence_batching":
        against = "sequence_batching"
    if against:
        yield config.raised(
            f"response_cache and {against} exclude one another: an answer that is stored would be one of several; take "
            "response_cache away",
            "response_cache",
            fix=without(config, "response_cache"),
        )


@rule(
    "MY322",
    Severity.WARNING,
    summary="a response cache that the server does not have",
    mend="Start the server with --cache-config=local,size=BYTES, or take response_cache away.",
    verdict=Verdict.UNSEEN,
)
def response_cache_without_a_cache(config: Config) -> Findings:
    """Without `--cache-config` among the server's arguments Triton loads the model silently and caches nothing.

    This is said only where the server's arguments are known. The embedded server has a cache.
    """
    arguments = config.settings.server_arguments
    if arguments is None or not config.message.response_cache.enable:
        return
    if option(arguments, "cache-config") is None and option(arguments, "response-cache-byte-size") is None:
        yield config.raised(
            "response_cache does nothing: the server is started without --cache-config; add "
            "--cache-config=local,size=67108864 to its arguments",
            "response_cache",
        )


@rule(
    "MY323",
    Severity.ERROR,
    summary="a graph that is declared decoupled",
    mend="Take model_transaction_policy away: a graph answers each request once.",
    verdict=Verdict.REFUSES,
)
def graph_is_decoupled(config: Config) -> Findings:
    """Decoupled models answer any number of times, over a gRPC stream alone; a graph answers once.

    Every other request fails with `HTTP end point doesn't support models with decoupled transaction policy`. The
    embedded server's backends refuse the model: `… a graph answers once: remove it`.
    """
    if config.backend in GRAPH_BACKENDS and config.message.model_transaction_policy.decoupled:
        yield config.raised(
            f"the {config.backend} backend answers each request once, and decoupled shuts out HTTP and plain gRPC; "
            "take model_transaction_policy away",
            "model_transaction_policy",
            fix=without(config, "model_transaction_policy"),
        )
