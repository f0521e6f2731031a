"""What the triage is judged by, what may be kept of its samples, and the deciding step on its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelyard_build import temperature
from modelyard_build.datasets import chest_xrays
from modelyard_build.model import AnyModel, Ensemble
from modelyard_build.models import imaging_triage
from modelyard_build.models.imaging_triage import DECISION, DECODER, ENSEMBLE, MODELS, NET, PHANTOMS, details, figures
from modelyard_build.repository import config
from modelyard_build.stage import GOLDEN_ITEMS, warmup_tensors
from support import images

NAME = "modelyard_build.steps.triage_decision"
ROOT = Path(__file__).parents[2]
PARAMETERS = dict(DECISION.parameters)


@pytest.fixture(scope="module")
def decision() -> Iterator[Any]:
    """The step's module, beside a stand-in for what Triton gives it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
        yield import_module(NAME)
        sys.modules.pop(NAME)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Small pictures under the names of the X-rays."""
    for number, name in enumerate(chest_xrays.XRAYS):
        picture = images.picture().convert("L").resize((200 + number, 180))
        (tmp_path / name).write_bytes(images.encoded(picture, "JPEG"))
    return {name: tmp_path / name for name in chest_xrays.XRAYS}


def test_samples_that_are_kept_are_drawn(files: dict[str, Path]) -> None:
    """The X-rays may not be passed on: golden samples and warmup come from the front of the examples."""
    kept = list(islice(imaging_triage.example_files(files), PHANTOMS))
    assert kept == list(chest_xrays.phantoms(PHANTOMS))
    assert GOLDEN_ITEMS <= PHANTOMS
    assert all(model.golden_items <= PHANTOMS for model in MODELS if isinstance(model, Ensemble))
    following = imaging_triage.example_images(files, PHANTOMS + len(files))["image"][PHANTOMS:, 0]
    assert set(following) == {path.read_bytes() for path in files.values()}


def test_examples_go_on_as_far_as_they_are_verified(files: dict[str, Path]) -> None:
    """Each is another; the parts are X-rays that the decoder takes."""
    examples = imaging_triage.example_images(files, DECODER.verified_items)["image"][:, 0]
    assert len(set(examples)) == DECODER.verified_items


def test_half_of_the_xrays_have_a_finding() -> None:
    """By the names in the package; parts of one belong together."""
    assert sum(map(chest_xrays.finding_of, chest_xrays.XRAYS)) == 8
    assert len(chest_xrays.XRAYS) == 16


def test_views_are_the_whole_and_parts_of_it(files: dict[str, Path]) -> None:
    """Always the same ones: the temperature was fitted on them."""
    names = list(files)[:2]
    first, second = (list(chest_xrays.views(files, names, 3)) for _ in range(2))
    assert first == second
    for name, (finding, views) in zip(names, first, strict=True):
        assert finding == chest_xrays.finding_of(name)
        assert views[0] == files[name].read_bytes()
        assert len({*views}) == 3


def test_phantoms_are_grey_and_large_enough(tmp_path: Path) -> None:
    """So that the decoder takes them; half of them have a shadow."""
    drawn = list(chest_xrays.phantoms(4))
    assert len(set(drawn)) == 4
    for number, content in enumerate(drawn):
        path = tmp_path / f"{number}.png"
        path.write_bytes(content)
        with Image.open(path) as image:
            assert (image.mode, min(image.size) >= int(DECODER.parameters["min_side"])) == ("L", True)


def test_the_config_says_what_was_verified() -> None:
    """Temperature and threshold in the project's own config are those of the declaration."""
    for model in (DECODER, DECISION):
        message = config.read(ROOT / "model_repository" / model.name / "config.pbtxt")
        stated = {name: value.string_value for name, value in message.parameters.items()}
        assert stated == dict(model.parameters)


@pytest.mark.parametrize("name", [model.name for model in MODELS])
def test_every_config_says_what_it_is(name: str) -> None:
    """Whoever opens one reads first that it is no medical product."""
    text = (ROOT / "model_repository" / name / "config.pbtxt").read_text()
    assert text.startswith("# A demonstration, not medical")


@pytest.mark.parametrize("model", [DECODER, NET])
def test_urgent_requests_have_a_queue_of_their_own(model: Any) -> None:
    """Two levels where requests wait, and routine is what a request is that says nothing."""
    message = config.read(ROOT / "model_repository" / model.name / "config.pbtxt")
    batching = message.dynamic_batching
    assert (batching.priority_levels, batching.default_priority_level) == (2, 2)
    assert 0 < batching.priority_queue_policy[1].max_queue_size < batching.default_queue_policy.max_queue_size


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_config_that_is_written_says_what_the_one_in_git_says(model: AnyModel, tmp_path: Path) -> None:
    """Priority levels and their queues included: a build into an empty repository serves as ours does."""
    folder = ROOT / "model_repository" / model.name
    (tmp_path / "config.pbtxt").write_text(config.render(model, warmup_tensors(model, folder)))
    written, ours = (config.read(path / "config.pbtxt") for path in (tmp_path, folder))
    for message in (written, ours):
        for sample in message.model_warmup:
            sample.ClearField("name")
    assert written == ours


def test_figures_and_details() -> None:
    """Two X-rays: one found in every view, one never; both urgent. What the other says is held against each."""
    truth = np.repeat([1, 0], chest_xrays.VIEWS)
    logits = np.tile(np.array([[0.0, 2.0]], np.float32), (len(truth), 1))
    outputs = imaging_triage.decided({}, {"logits": logits})
    sure = float(outputs["probabilities"][0, 1])
    # The right one alone makes the other as sure as can be; the wrong one alone makes it doubt.
    too_sure, unsure = (1 / (1 + np.exp(-2 / scale)) for scale in (temperature.LOWEST, temperature.HIGHEST))
    assert figures(outputs, truth) == {
        "accuracy": 0.5,
        "calibration error, in-sample": pytest.approx(sure - 0.5),
        "Brier score, in-sample": pytest.approx(((1 - sure) ** 2 + sure**2) / 2),
        "calibration error, leave-one-out": pytest.approx(((1 - unsure) + too_sure) / 2),
        "Brier score, leave-one-out": pytest.approx(((1 - unsure) ** 2 + too_sure**2) / 2),
    }
    assert ENSEMBLE.evaluation is not None
    assert ENSEMBLE.evaluation.losses == figures(outputs, truth).keys() - {"accuracy"}
    found = details(outputs, truth)
    assert (found["X-rays"], found["X-rays right"]) == (2, 1)
    assert (found["urgent with a pneumonia"], found["urgent without"]) == ("1 of 1", "1 of 1")
    assert "not medical" in found["note"]


def test_what_is_urgent_is_what_is_given_out(decision: Any) -> None:
    """At the threshold itself, as float32 has it, an item is urgent; a hair below it is not."""
    settings = decision.decision_of({**PARAMETERS, "temperature": "1", "urgent_threshold": "0.5"})
    outputs = decision.decided(np.array([[1, 1], [1, 0.999], [0, 9]], np.float32), settings)
    assert outputs["recommendation"][:, 0].tolist() == [b"urgent", b"routine", b"urgent"]
    assert outputs["label"][:, 0].tolist() == [b"NORMAL", b"NORMAL", b"PNEUMONIA"]
    assert outputs["urgent_threshold"].tolist() == [[0.5]] * 3


def test_the_step_agrees_with_its_reference(decision: Any) -> None:
    """Also where scores are the largest that there are."""
    settings = decision.decision_of(PARAMETERS)
    for inputs in (imaging_triage.example_logits({}, 50), *imaging_triage.extreme_logits({})):
        found, wanted = decision.decided(inputs["logits"], settings), imaging_triage.decided({}, inputs)
        np.testing.assert_allclose(found["probabilities"], wanted["probabilities"], rtol=1e-6)
        for name in ("label", "recommendation", "urgent_threshold"):
            assert found[name].tolist() == wanted[name].tolist()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"labels": "NORMAL"}, r"key: 'labels'.* is 'NORMAL', expected two or more names between commas"),
        ({"finding": "FRACTURE"}, r"key: 'finding'.* is 'FRACTURE', expected one of the labels: NORMAL, PNEUMONIA"),
        ({"finding": None}, r"key: 'finding'.* is ''"),
        ({"temperature": "0"}, r"key: 'temperature'.* is '0', expected a number above 0"),
        ({"temperature": "nan"}, r"key: 'temperature'.* is 'nan'"),
        ({"temperature": "inf"}, r"key: 'temperature'.* is 'inf'"),
        ({"urgent_threshold": "25 %"}, r"key: 'urgent_threshold'.* is '25 %', expected a probability, 0 to 1"),
        ({"urgent_threshold": "1.5"}, r"key: 'urgent_threshold'.* is '1\.5'"),
    ],
)
def test_parameters_that_make_no_sense_do_not_load(
    decision: Any, changed: dict[str, str | None], sentence: str
) -> None:
    """The load error says which, and what is expected."""
    stated = {name: value for name, value in {**PARAMETERS, **changed}.items() if value is not None}
    with pytest.raises(ValueError, match=sentence):
        decision.decision_of(stated)
