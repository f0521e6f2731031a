"""What the task on images does without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard_client.errors import IncompatibleModel, InvalidInput
from modelyard_client.metadata import ModelMetadata, TensorSpec
from modelyard_client.tasks.image_classifier import (
    check_tensors,
    checked_images,
    checked_top_k,
    named,
    parse_classes,
    requests,
)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ([], r"images is empty"),
        (b"\xff\xd8", r"images is a single bytes; pass a list of images"),
        ("cat.jpg", r"images is a single str"),
        (Path("cat.jpg"), r"images is a single \w*Path"),
        (None, r"images is a NoneType"),
        ({"a": b"1"}, r"images is a dict"),
        ([b"1", "cat.jpg"], r"images\[1\] is a str.*pass pathlib\.Path"),
        ([b"1", np.zeros((2, 2, 3), np.uint8)], r"images\[1\] is a ndarray; every image is the bytes of its file"),
        ([b"1", b""], r"images\[1\] is empty"),
    ],
)
def test_what_is_no_image_is_refused_before_anything_is_sent(images: Any, sentence: str) -> None:
    """The position is named, and what to pass."""
    with pytest.raises(InvalidInput, match=sentence):
        checked_images(images)


def test_each_image_is_a_request_of_bytes(tmp_path: Path) -> None:
    """Bytes go as they are, a path as what its file holds; each is BYTES [1, 1]."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"\xff\xd8cat")
    images: list[bytes | Path] = [b"\x89PNG", path]
    made = list(requests(checked_images(iter(images))))
    assert [request["image"].tolist() for request in made] == [[[b"\x89PNG"]], [[b"\xff\xd8cat"]]]
    assert {request["image"].dtype for request in made} == {np.dtype(object)}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Its position, its path and the reason; and the sentence is left as it is."""
    missing = tmp_path / "missing.jpg"
    with pytest.raises(InvalidInput, match=rf"images\[1\], {missing}, cannot be read: No such file") as caught:
        list(requests([b"1", missing]))
    assert named(caught.value, [b"1", missing], 1) is caught.value


def test_the_servers_refusal_gets_the_images_name() -> None:
    """To the server each image is the first of its request; the caller passed a list."""
    refused = InvalidInput("image 0 is damaged", url="grpc://a:1", model="m", request_id="r")
    error = named(refused, [b"1", Path("cat.jpg")], 1)
    assert str(error) == "images[1], cat.jpg: image 0 is damaged"
    assert (error.url, error.model, error.request_id) == ("grpc://a:1", "m", "r")


@pytest.mark.parametrize("top_k", [0, -1])
def test_a_number_of_classes_that_is_none(top_k: int) -> None:
    """Triton would answer with the whole tensor."""
    with pytest.raises(InvalidInput, match=f"top_k is {top_k}"):
        checked_top_k(top_k)


def test_classes_are_read_in_their_order() -> None:
    """A label may hold colons and commas, and two classes may have the same one."""
    row = np.array([b"0.900000:1:ice cream: vanilla", b"0.100000:7:crane", b"0.000000:9:crane"], dtype=np.object_)
    assert parse_classes(row) == [("ice cream: vanilla", 0.9), ("crane", 0.1), ("crane", 0.0)]


def test_a_class_without_a_label() -> None:
    """The configuration is at fault, and the sentence says which line."""
    with pytest.raises(IncompatibleModel, match=r"class 1 of the output probabilities has no label.*label_filename"):
        parse_classes(np.array([b"0.900000:1"], dtype=np.object_))


def test_another_kind_of_model() -> None:
    """What it lacks is named."""
    metadata = ModelMetadata("m", ("1",), "ensemble", (TensorSpec("text", "BYTES", (-1, 1)),), ())
    with pytest.raises(IncompatibleModel, match="model 'm' has no image, probabilities"):
        check_tensors(metadata)
