"""MY145 and MY146: model_repository_agents."""

from __future__ import annotations

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.subjects import Config

_FIELD = "model_repository_agents"
# What stands in /opt/tritonserver/repoagents of NVIDIA's container.
_AGENTS = ("checksum",)


@rule(
    "MY145",
    Severity.ERROR,
    summary="model_repository_agents without an agent",
    mend="Name an agent, or take model_repository_agents away.",
    verdict=Verdict.REFUSES,
)
def agents_without_an_agent(config: Config) -> Findings:
    """Loading such a model ends the whole server.

    Triton 2.51 looks at the first agent without asking whether there is one: `signal 11 (SIGSEGV)`. An agent without a
    name is looked for as `libtritonrepoagent_.so`, and the model is refused.
    """
    if not config.message.HasField(_FIELD):
        return
    agents = config.message.model_repository_agents.agents
    if not agents:
        yield config.raised(f"{_FIELD} has no agent, which ends the server; take it away, or name one", _FIELD)
    for index, agent in enumerate(agents):
        if not agent.name:
            yield config.raised(f"agent {index} has no name; name it, or take it away", _FIELD, "agents", index)


@rule(
    "MY146",
    Severity.WARNING,
    summary="a repository agent that NVIDIA's container does not have",
    mend="Correct the name, or put its library into the server's --repoagent-directory.",
    verdict=Verdict.REFUSES,
)
def agent_is_not_in_the_container(config: Config) -> Findings:
    """The container has the agent checksum alone; another one is a library that you bring.

    Elsewhere Triton says `unable to find 'libtritonrepoagent_….so' for repo agent '…'`, and the model is refused.
    """
    for index, agent in enumerate(config.message.model_repository_agents.agents):
        if agent.name and agent.name not in _AGENTS:
            yield config.raised(
                f"agent {agent.name!r} is not in NVIDIA's container, which has {', '.join(_AGENTS)}; see that the "
                f"server's --repoagent-directory has libtritonrepoagent_{agent.name}.so",
                *(_FIELD, "agents", index, "name"),
            )
