"""Temperature scaling against what can be told by hand or by another method."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize_scalar

from modelyard_build.temperature import (
    HIGHEST,
    LOWEST,
    brier_score,
    expected_calibration_error,
    fit,
    left_out,
    negative_log_likelihood,
    scaled,
)


def drawn(temperature: float, items: int = 4000) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Logits, and labels that are as likely as the logits say once they are divided by the temperature."""
    generator = np.random.default_rng(5)
    logits = generator.normal(0, 3, (items, 3))
    chosen = (scaled(logits, temperature).cumsum(1) > generator.random((items, 1))).argmax(1)
    return logits, chosen


def test_the_fit_finds_the_temperature_that_was_drawn_with() -> None:
    """And with it the error goes."""
    logits, labels = drawn(2.5)
    found = fit(logits, labels)
    assert found == pytest.approx(2.5, rel=0.05)
    before, after = (expected_calibration_error(scaled(logits, value), labels) for value in (1.0, found))
    assert before > 0.1
    assert after < 0.02


def test_the_fit_is_where_a_general_minimiser_ends() -> None:
    """scipy, on few items."""
    logits, labels = drawn(0.7, items=20)
    other = minimize_scalar(
        lambda value: negative_log_likelihood(scaled(logits, value), labels), bounds=(LOWEST, HIGHEST), method="bounded"
    )
    assert fit(logits, labels) == pytest.approx(other.x, rel=1e-3)


def test_what_is_told_apart_without_a_mistake_has_a_bound() -> None:
    """The likelihood has no maximum there; nor where every item is wrong."""
    logits, labels = np.array([[3.0, 0.0], [0.0, 3.0]]), np.array([0, 1])
    assert fit(logits, labels) == pytest.approx(LOWEST)
    assert fit(logits, 1 - labels) == pytest.approx(HIGHEST)


def test_extreme_logits_have_probabilities() -> None:
    """No overflow, no NaN."""
    largest = float(np.finfo(np.float32).max)
    assert scaled([[largest, -largest], [largest, largest]], 0.05).tolist() == [[1, 0], [0.5, 0.5]]


def test_no_group_sees_itself() -> None:
    """An item's temperature is that of the other groups alone."""
    logits, labels = drawn(2.0, items=30)
    groups = np.arange(30) // 5
    found = left_out(logits, labels, groups)
    rest = groups != 2
    np.testing.assert_array_equal(found[10:15], scaled(logits[10:15], fit(logits[rest], labels[rest])))


def test_figures_by_hand() -> None:
    """Two bins of two items each: one is right half the time at 0.6, one always at 0.9."""
    probabilities = np.array([[0.6, 0.4], [0.4, 0.6], [0.1, 0.9], [0.9, 0.1]])
    labels = np.array([0, 0, 1, 0])
    assert expected_calibration_error(probabilities, labels) == pytest.approx((2 * 0.1 + 2 * 0.1) / 4)
    assert expected_calibration_error(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([1, 1])) == pytest.approx(0.25)
    assert brier_score(probabilities, labels) == pytest.approx((0.16 + 0.36 + 0.01 + 0.01) / 4)
