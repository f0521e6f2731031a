"""MY415 and MY416: the optimization profiles of a TensorRT engine."""

from __future__ import annotations

import re

from modelyard_build.repository.lint.instance_groups import GROUPS, stated_groups
from modelyard_build.repository.lint.mends import without
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.values import quoted, whole_number
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.binding import Path as FieldPath


@rule(
    "MY415",
    Severity.ERROR,
    summary="optimization profiles that Triton refuses",
    mend="Number the engine's profiles from 0, as strings; for every other backend take profile away.",
    verdict=Verdict.REFUSES,
)
def profile_is_refused(config: Config) -> Findings:
    """Triton refuses the model: `… specifies profile field which is only supported for TensorRT models`.

    For TensorRT it wants numbers: `unable to parse '…': stoi`, or `… specifies invalid profile … The field should
    contain the string representation of a non-negative integer.`
    """
    for path, group, _ in stated_groups(config):
        if group.profile and config.backend and config.backend != "tensorrt":
            yield config.raised(
                f"profiles belong to a TensorRT engine, and the backend is {config.backend}; take profile away",
                *path,
                "profile",
                fix=without(config, *path, "profile"),
            )
            continue
        for index, profile in enumerate(group.profile):
            if not _is_profile(profile):
                yield config.raised(
                    f'the profile {quoted(profile)} is no number; the engine\'s profiles are "0", "1" and so on',
                    *path,
                    "profile",
                    index,
                )


def _is_profile(text: str) -> bool:
    """As C++'s stoi reads a number that is not negative; what follows the digits it leaves alone."""
    return re.match(r"\s*(\+?[0-9]{1,9}(?![0-9])|-0+(?![0-9]))", text) is not None


@rule(
    "MY416",
    Severity.WARNING,
    summary="an engine's optimization profiles and those that are served differ",
    mend='List every profile of the engine: profile: [ "0", "1" ].',
    verdict=Verdict.UNSEEN,
)
def profiles_differ(config: Config) -> Findings:
    """Without the list Triton serves profile 0 alone, and requests outside of its shapes fail.

    A profile that the engine does not have cannot be set. What the engine has stands in the manifest of its version.
    """
    if config.backend != "tensorrt":
        return
    listed = {whole_number(profile) for group in config.message.instance_group for profile in group.profile}
    for version, artefact in config.artefacts:
        profiles = artefact.details.get("profiles", ())
        missing = sorted(set(range(len(profiles))) - (listed or {0}))
        beyond = sorted(number for number in listed if number >= len(profiles))
        place: FieldPath = (GROUPS, 0, "profile") if config.message.instance_group else ()
        if profiles and missing:
            wanted = ", ".join(f'"{number}"' for number in range(len(profiles)))
            yield config.raised(
                f"version {version.number} has {len(profiles)} profiles, and {_listed(missing)} not served; state "
                f"profile: [ {wanted} ] in instance_group",
                *place,
            )
        elif profiles and beyond:
            yield config.raised(
                f"version {version.number} has {len(profiles)} profile(s), numbered from 0, and {_listed(beyond)} not "
                "among them; take it out of profile",
                *place,
            )


def _listed(numbers: list[int]) -> str:
    named = ", ".join(map(str, numbers[:6])) + (", …" if len(numbers) > 6 else "")
    return f"{named} is" if len(numbers) == 1 else f"{named} are"
