"""The parameters of the openvino backend, as the container's reads them."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backends.openvino.contract import load_warnings
from modelyard_server.backends.openvino.settings import model_settings


def config(instances: int = 1, max_batch_size: int = 8, **parameters: str) -> ModelConfig:
    """A configuration with these parameters."""
    raw: dict[str, Any] = {
        "name": "m",
        "max_batch_size": max_batch_size,
        "instance_group": [{"count": instances}],
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
    }
    return ModelConfig.from_dict(raw)


def properties(cores: int | None = None, **arguments: Any) -> dict[str, Any]:
    """What OpenVINO is told, batching and pinning apart."""
    told = model_settings(config(**arguments), cores).properties
    del told["ALLOW_AUTO_BATCHING"], told["ENABLE_CPU_PINNING"]
    return told


def test_nothing_is_told_where_nothing_is_asked() -> None:
    """OpenVINO's defaults, its precision above all, are the container's."""
    assert properties() == {}


def test_values_reach_openvino_in_its_words() -> None:
    """Upper and lower case are one."""
    assert properties(
        PERFORMANCE_HINT="Throughput", NUM_STREAMS="auto", HINT_BF16="yes", COMPILATION_NUM_THREADS="3"
    ) == {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": "AUTO",
        "INFERENCE_PRECISION_HINT": "bf16",
        "COMPILATION_NUM_THREADS": 3,
    }


def test_an_empty_value_is_none() -> None:
    """As in the container."""
    assert properties(HINT_BF16="", NUM_STREAMS="", PERFORMANCE_HINT="", INFERENCE_NUM_THREADS="") == {}


def test_instances_share_threads_and_streams() -> None:
    """In the container they share one compiled model; here each process gets its part, at least one."""
    assert properties(instances=2, INFERENCE_NUM_THREADS="8", NUM_STREAMS="6") == {
        "INFERENCE_NUM_THREADS": 4,
        "NUM_STREAMS": 3,
    }
    assert properties(instances=4, INFERENCE_NUM_THREADS="2", NUM_STREAMS="2") == {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
    }


def test_threads_are_not_bound_to_cores() -> None:
    """Each process would bind its own to the first cores, and leave the others idle; only CPUs know the property."""
    assert model_settings(config(instances=2), 2).properties["ENABLE_CPU_PINNING"] is False
    assert "ENABLE_CPU_PINNING" not in model_settings(config(TARGET_DEVICE="GPU"), 2).properties


def test_cores_are_shared_out_where_no_number_is_given() -> None:
    """0 counts as not given; a number that is given wins."""
    assert properties(cores=6, instances=2) == {"INFERENCE_NUM_THREADS": 3}
    assert properties(cores=6, instances=2, INFERENCE_NUM_THREADS="0") == {"INFERENCE_NUM_THREADS": 3}
    assert properties(cores=6, instances=2, INFERENCE_NUM_THREADS="4") == {"INFERENCE_NUM_THREADS": 2}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("INFERENCE_NUM_THREADS", "-1", "expected a non-negative number"),
        ("COMPILATION_NUM_THREADS", "four", "expected a non-negative number"),
        ("NUM_STREAMS", "many", "expected AUTO, NUMA or a number"),
        ("PERFORMANCE_HINT", "FAST", "expected LATENCY or THROUGHPUT or CUMULATIVE_THROUGHPUT"),
        ("HINT_BF16", "no", "expected YES, or no such parameter"),
    ],
)
def test_values_that_the_container_refuses_are_refused(key: str, value: str, words: str) -> None:
    """With the parameter, what it is, and what it may be."""
    with pytest.raises(ModelLoadError, match=f"parameter '{key}' is '{value}', {words}"):
        model_settings(ModelConfig("m", 8, parameters={key: value}), None)


def test_batching_is_allowed_as_in_the_container() -> None:
    """For a model that batches, unless SKIP_OV_DYNAMIC_BATCHSIZE is set."""
    assert model_settings(config(), None).properties["ALLOW_AUTO_BATCHING"]
    assert not model_settings(config(SKIP_OV_DYNAMIC_BATCHSIZE="YES"), None).properties["ALLOW_AUTO_BATCHING"]
    assert not model_settings(config(max_batch_size=0), None).properties["ALLOW_AUTO_BATCHING"]


def test_only_yes_turns_a_switch_on_and_the_log_says_so() -> None:
    """`true` counts as not set in the container, silently; here the log says it."""
    settings = model_settings(config(ENABLE_BATCH_PADDING="true", RESHAPE_IO_LAYERS="Yes"), None)
    assert (settings.batch_padding, settings.reshape) == (False, True)
    warning, batches = load_warnings(config(ENABLE_BATCH_PADDING="true"), settings)
    assert "'ENABLE_BATCH_PADDING' is 'true', which counts as not set" in warning
    assert "exactly 8 items" in batches


def test_nothing_is_warned_of_where_batches_are_padded() -> None:
    """A model that serves every batch size needs no word."""
    padded = config(ENABLE_BATCH_PADDING="yes")
    assert load_warnings(padded, model_settings(padded, None)) == []
    assert load_warnings(config(max_batch_size=1), model_settings(config(max_batch_size=1), None)) == []


def test_the_device_is_named() -> None:
    """CPU by default."""
    assert model_settings(config(), None).device == "CPU"
    assert model_settings(config(TARGET_DEVICE="auto"), None).device == "AUTO"
