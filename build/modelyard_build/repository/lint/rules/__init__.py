"""Every rule, in the order in which they are said."""

from __future__ import annotations

from modelyard_build.repository.lint.rule import Rule
from modelyard_build.repository.lint.rules import layout

RULES: tuple[Rule, ...] = (
    layout.unparsable,
    layout.name_is_not_the_folder,
)
BY_CODE = {rule.code: rule for rule in RULES}
