"""What is read out of Triton's log; the lines are from Triton 2.51."""

from __future__ import annotations

import pytest

from modelyard_server.log import last_errors, load_failures, one_line, parse_line, still_loading, stub_failure

HEAD = "2026-11-21T04:15:24Z"
FAILED = f"{HEAD} E 15386 model_lifecycle.cc:642] \"failed to load '{{}}' version 1: {{}}\""
LOADED = f"{HEAD} I 15386 model_lifecycle.cc:839] \"successfully loaded '{{}}'\""
LOADING = f'{HEAD} I 15386 model_lifecycle.cc:472] "loading: {{}}:1"'
RAISED = (
    r"Internal: ValueError: no \"tokenizer.json\"\nhere\n\nAt:\n  /r/m/1/model.py(5): initialize\n  /r/m/1/a.py(1): f\n"
)
UNPARSABLE = f"""\
[libprotobuf ERROR /tmp/text_format.cc:337] Error parsing text-format inference.ModelConfig: 6:15: no field named "a".
{HEAD} E 15386 model_repository_manager.cc:1460] "Poll failed for model directory 'm': failed to read text proto from \
/r/m/config.pbtxt"
"""
DEPENDS = (
    f"{HEAD} E 15386 model_repository_manager.cc:703] \"Invalid argument: ensemble 'm' depends on 'step' which has no "
    "loaded version. Model 'step' loading failed with error: \ufffd\ufffd\""
)
AMBIGUOUS = (
    f'{HEAD} E 15386 model_repository_manager.cc:703] "Invalid argument: ensemble m contains models that are not '
    'available or ambiguous: absent"'
)
NO_VERSION = (
    f"{HEAD} E 15386 model_repository_manager.cc:724] \"failed to load model 'm': at least one version must be "
    "available under the version policy of model 'm'\""
)
PREINITIALIZE = (
    "I1121 04:13:24.095413 14341 pb_stub.cc:2105]  Failed to preinitialize Python stub: "
    "Python model file not found in '/r/m/1/model.py'"
)


def test_a_record_is_taken_apart() -> None:
    """Severity, time, place, and the message without its quotes and escapes."""
    record = parse_line(FAILED.format("m", RAISED))
    assert (record.level, record.time, record.source) == ("E", HEAD, "model_lifecycle.cc:642")
    assert record.message.startswith("failed to load 'm' version 1: Internal: ValueError: no \"tokenizer.json\"\nhere")


def test_what_is_no_record_is_all_message() -> None:
    """What a model prints comes through as it is."""
    assert parse_line("hello from a model").message == "hello from a model"
    assert parse_line("hello from a model").level == ""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (FAILED.format("m", RAISED), 'ValueError: no "tokenizer.json" here (at /r/m/1/model.py(5): initialize)'),
        (UNPARSABLE, 'failed to read text proto from /r/m/config.pbtxt: 6:15: no field named "a".'),
        (DEPENDS, "depends on 'step' which has no loaded version"),
        (AMBIGUOUS, "contains models that are not available or ambiguous: absent"),
        (NO_VERSION, "at least one version must be available under the version policy of model 'm'"),
    ],
    ids=["raised", "config", "step failed", "step missing", "no version"],
)
def test_the_reason_of_a_failed_load(log: str, reason: str) -> None:
    """One line: without the status code, without freed memory, with a traceback's innermost place."""
    assert load_failures(log) == {"m": reason}


def test_a_later_success_clears_the_failure() -> None:
    """A model that was mended and loaded again has no failure left; the others keep theirs."""
    log = "\n".join([FAILED.format("m", "a"), FAILED.format("n", "b"), LOADED.format("m")])
    assert load_failures(log) == {"n": "b"}


def test_the_last_failure_counts() -> None:
    """Of two attempts the second one's reason is told."""
    log = "\n".join([FAILED.format("m", "first"), LOADING.format("m"), FAILED.format("m", "second")])
    assert load_failures(log) == {"m": "second"}


def test_what_is_still_loading() -> None:
    """A model whose load has neither succeeded nor failed."""
    log = "\n".join([*map(LOADING.format, "abc"), LOADED.format("a"), FAILED.format("b", "reason")])
    assert still_loading(log) == ["c"]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (PREINITIALIZE, "Failed to preinitialize Python stub: Python model file not found in '/r/m/1/model.py'"),
        (
            "stub: error while loading shared libraries: libx.so: cannot open shared object file",
            "error while loading shared libraries: libx.so: cannot open shared object file",
        ),
        ("nothing of the kind", ""),
    ],
)
def test_what_a_python_process_said_last(log: str, said: str) -> None:
    """The complaint of a Python process that died before it could tell Triton."""
    assert stub_failure(log) == said


def test_errors_of_a_machine_without_a_gpu_do_not_count() -> None:
    """Why a server died is told by its last errors, without those that every machine has."""
    no_gpu = f'{HEAD} E 1 server.cc:241] "CudaDriverHelper has not been initialized."'
    socket = f"{HEAD} E 1 main.cc:245] \"failed to start HTTP service: Unavailable - Socket '127.0.0.1:1' in use \""
    assert (
        last_errors(f"{no_gpu}\n{socket}\n")
        == "failed to start HTTP service: Unavailable - Socket '127.0.0.1:1' in use"
    )


def test_of_a_server_that_served_only_its_end_is_told() -> None:
    """What went wrong while it started has nothing to do with its end."""
    serving = f'{HEAD} I 1 http_server.cc:4713] "Started HTTPService at 127.0.0.1:1"'
    end = "modelyard: tritonserver ended by itself: signal 9 (SIGKILL)"
    assert last_errors("\n".join([FAILED.format("m", "a"), serving, end])) == end


def test_a_log_without_a_complaint_ends_with_its_last_line() -> None:
    """Something is told in any case."""
    assert last_errors("first\nlast\n") == "last"
    assert last_errors("") == ""


def test_one_line_of_many() -> None:
    """White space shrinks and the status code goes."""
    assert one_line("Invalid argument: a\n  b\n") == "a b"
