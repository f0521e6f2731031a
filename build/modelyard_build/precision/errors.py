"""Why a graph did not get its precision.

BuildError
├── CalibrationRefused  there is no calibration data, or it cannot be what the model is really asked
└── PrecisionFailed     the graph does not compute in that precision well enough, or at all
"""

from __future__ import annotations

from modelyard_build.errors import BuildError


class CalibrationRefused(BuildError):
    """The calibration data is missing, malformed, or says nothing about real inputs."""


class PrecisionFailed(BuildError):
    """No part of the graph can be put into the precision within the quality that is asked for."""
