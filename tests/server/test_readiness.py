"""How a model is judged, out of what the repository holds, what Triton says, its log and its processes."""

from __future__ import annotations

from modelyard_server.readiness import LOADING, READY, UNAVAILABLE, UNHEALTHY, UNLOADING, ModelState, judge, not_ready


def row(version: str = "1", state: str = READY, reason: str = "", name: str = "m") -> ModelState:
    """A row of the repository index."""
    return ModelState(name, version, state, reason)


def test_what_serves_is_ready() -> None:
    """A model with one ready version has nothing to report."""
    states = judge(["m"], [row()], {}, {})
    assert states == [row()]
    assert not_ready(states) == {}


def test_a_model_that_triton_does_not_list_is_not_ready() -> None:
    """A folder without a version is in the repository, but not in Triton's index; the way out is named."""
    logged = {"m": "at least one version must be available under the version policy of model 'm'"}
    reason = "it has no version to serve; make one with `modelyard build m`"
    assert judge(["m"], [], logged, {}) == [row("", UNAVAILABLE, reason)]


def test_the_reason_of_a_bad_config_comes_out_of_the_log() -> None:
    """Triton's index has a row without a version and without a reason."""
    assert not_ready(judge(["m"], [row("", UNAVAILABLE)], {"m": "line 6"}, {})) == {"m": "line 6"}


def test_the_reason_of_a_failed_version_is_tritons() -> None:
    """The index tells why a version did not come up; it is told in one line."""
    states = judge(["m"], [row("2", UNAVAILABLE, "Internal: ValueError: a\nb")], {"m": "older"}, {})
    assert not_ready(states) == {"m": "ValueError: a b"}


def test_versions_that_were_replaced_are_not_reported() -> None:
    """After version 3 took over, those before it are neither failures nor rows, finished or still draining."""
    index = [row("1", UNAVAILABLE, "unloaded"), row("2", UNLOADING), row("3")]
    assert judge(["m"], index, {}, {}) == [row("3")]


def test_an_unloaded_model_is_not_ready() -> None:
    """A model of which no version serves any more keeps a row that says so."""
    assert not_ready(judge(["m"], [row("1", UNAVAILABLE, "unloaded")], {}, {})) == {"m": "it was unloaded"}


def test_a_failed_reload_is_told_though_the_old_version_serves() -> None:
    """The old version is READY, and the operator learns that the new one was refused."""
    [state] = judge(["m"], [row()], {"m": "line 6"}, {})
    assert state.state == READY
    assert state.reason == "serves as it was loaded; the last load failed: line 6"


def test_a_ready_model_whose_process_died_is_unhealthy() -> None:
    """Triton says READY while every inference fails."""
    [state] = judge(["m"], [row()], {}, {("m", "1"): "1 of 2 Python processes of this version died"})
    assert state.state == UNHEALTHY
    assert state.reason.startswith("1 of 2 Python processes of this version died")


def test_versions_come_in_their_numbers_order() -> None:
    """Version 10 stands after version 9; models stand by name."""
    states = judge(["b", "a"], [row("10", name="b"), row("9", name="b"), row("1", LOADING, name="a")], {}, {})
    assert [(state.name, state.version) for state in states] == [("a", "1"), ("b", "9"), ("b", "10")]


def test_hidden_folders_are_nobodys_models() -> None:
    """Triton tries to load `.git` and `__pycache__`; its complaints about them are not passed on."""
    assert judge([], [row("", UNAVAILABLE, name=".git"), row("", UNAVAILABLE, name="__pycache__")], {}, {}) == []
