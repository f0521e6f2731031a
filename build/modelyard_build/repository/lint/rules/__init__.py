"""Every rule, in the order in which they are said."""

from __future__ import annotations

from modelyard_build.repository.lint.rule import Rule
from modelyard_build.repository.lint.rules import ignores, layout

RULES: tuple[Rule, ...] = (
    layout.unparsable,
    layout.name_is_not_the_folder,
    ignores.ignored_without_a_reason,
    ignores.ignores_nothing,
)
BY_CODE = {rule.code: rule for rule in RULES}
