"""What tasks on texts do without a server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata, TensorSpec
from modelyard_client.tasks.texts import checked_texts, chunks, class_count, in_order, text_model
from modelyard_client.tasks.ticket_classifier import parse_classes

METADATA = ModelMetadata(
    "m",
    ("1",),
    "ensemble",
    inputs=(TensorSpec("text", "BYTES", (-1, 1)),),
    outputs=(TensorSpec("probabilities", "FP32", (-1, 8)), TensorSpec("token_count", "INT32", (-1, 1))),
)


def tokenizer(max_length: str | None) -> Any:
    """The configuration of a tokenizer."""
    config = ModelConfig(name="m_tokenizer")
    if max_length is not None:
        config.parameters["max_length"].string_value = max_length
    return config


@given(st.lists(st.text(min_size=1, max_size=30), max_size=40), st.integers(1, 9))
def test_chunks_hold_every_text_once_and_come_back_in_order(texts: list[str], size: int) -> None:
    """None is lost, none is larger than allowed, and the order of the answers is that of the texts."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    cut = list(chunks(encoded, size))
    assert all(1 <= len(chunk.positions) <= size and chunk.texts.shape == (len(chunk.positions), 1) for chunk in cut)
    assert in_order((chunk, chunk.texts[:, 0].tolist()) for chunk in cut) == encoded


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=40), st.integers(1, 9))
def test_texts_of_like_length_share_a_request(texts: list[bytes], size: int) -> None:
    """Padding is least when the lengths in one request lie next to each other."""
    spans = [(len(chunk.texts[0, 0]), len(chunk.texts[-1, 0])) for chunk in chunks(texts, size)]
    assert spans == sorted(spans)
    assert all(first <= last for first, last in spans)


@given(st.lists(st.one_of(st.text(), st.binary()), max_size=8))
def test_texts_are_refused_or_come_out_as_utf8(texts: list[str | bytes]) -> None:
    """Whatever comes: an InvalidInput that names the position of the first bad one, or exactly the texts."""
    bad = [position for position, text in enumerate(texts) if not is_good(text)]
    if bad or not texts:
        with pytest.raises(InvalidInput, match=rf"texts\[{bad[0]}\]" if bad else "texts is empty"):
            checked_texts(texts)
    else:
        assert checked_texts(texts) == [text if isinstance(text, bytes) else text.encode() for text in texts]


def is_good(text: str | bytes) -> bool:
    """Whether it is valid UTF-8 with something in it."""
    try:
        return bool((text.encode() if isinstance(text, str) else text).decode().strip())
    except UnicodeError:
        return False


def test_model_is_read() -> None:
    """Batch, maximum and output; a model that does not batch takes one text at a time."""
    model = text_model(METADATA, ModelConfig(max_batch_size=32), tokenizer("256"), "probabilities")
    assert (model.max_batch_size, model.max_tokens, class_count(model)) == (32, 256, {"probabilities": 8})
    assert text_model(METADATA, ModelConfig(), tokenizer("1"), "probabilities").max_batch_size == 1


@pytest.mark.parametrize("max_length", [None, "", "many", "-3"])
def test_maximum_that_is_no_number(max_length: str | None) -> None:
    """The error shows the line that the configuration needs."""
    with pytest.raises(IncompatibleModel, match=r'm_tokenizer.*key: "max_length" value: \{ string_value: "256" \}'):
        text_model(METADATA, ModelConfig(), tokenizer(max_length), "probabilities")


def test_number_of_classes_that_is_not_known() -> None:
    """Without it the classes cannot be asked for."""
    outputs = (TensorSpec("probabilities", "FP32", (-1, -1)), *METADATA.outputs[1:])
    metadata = ModelMetadata("m", (), "", METADATA.inputs, outputs)
    model = text_model(metadata, ModelConfig(), tokenizer("256"), "probabilities")
    with pytest.raises(IncompatibleModel, match="needs the number of classes"):
        class_count(model)


def test_classes_are_parsed() -> None:
    """Highest first; a label may hold colons."""
    row = np.array([b"0.700000:2:a: b", b"0.300000:0:c"], object)
    prediction = parse_classes(row)
    assert (prediction.label, prediction.probability) == ("a: b", 0.7)
    assert prediction.probabilities == {"a: b": 0.7, "c": 0.3}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [([b"0.7:2"], "class 2 .* has no label"), ([b"0.7:2:a", b"0.3:1:a"], "class 1 .* the label of another class")],
)
def test_classes_without_labels_of_their_own(row: list[bytes], sentence: str) -> None:
    """Otherwise a probability would get lost without a word."""
    with pytest.raises(IncompatibleModel, match=sentence):
        parse_classes(np.array(row, object))
