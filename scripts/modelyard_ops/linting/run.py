"""Reads what is to be linted, and asks the rules."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard_build.errors import BuildError
from modelyard_build.repository.lint.rule import Rule
from modelyard_build.repository.lint.run import Finding, lint
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Deployment, Repository
from modelyard_ops.errors import CannotRun
from modelyard_ops.linting.report import Report
from modelyard_ops.linting.targets import Targets


@dataclass(frozen=True)
class Run:
    """What is linted, and against what.

    Attributes:
        targets: the repositories and files.
        settings: what they are held against.
        rules: those that are asked.
    """

    targets: Targets
    settings: Settings
    rules: tuple[Rule, ...]

    def findings(self, proposed: Mapping[Path, str]) -> list[Finding]:
        """What is found, with some texts in the place of what is on disk.

        Raises:
            CannotRun: a deployment file that was named is no YAML, or a process was ended from outside.
        """
        repositories = [Repository(path, self.settings, proposed) for path in self.targets.repositories]
        deployments = self._deployments(proposed)
        only, processes = self.targets.only, len(os.sched_getaffinity(0))
        try:
            return lint(repositories, deployments, self.settings, self.rules, only=only, processes=processes)
        except BuildError as error:
            raise CannotRun(str(error)) from None

    def report(self, findings: list[Finding]) -> Report:
        """The findings with what they are measured by."""
        only = self.targets.only
        models = frozenset(
            model.folder
            for path in self.targets.repositories
            for model in Repository(path, self.settings).models.values()
            if not only or model.folder in only or path in only
        )
        return Report(tuple(findings), models, self.settings, self.rules)

    def _deployments(self, proposed: Mapping[Path, str]) -> list[Deployment]:
        if not self.targets.deployments:
            return []
        from modelyard_build.repository.lint.deployments import read_deployment

        found = []
        for path, named in self.targets.deployments.items():
            try:
                found.append(read_deployment(path, self.settings, proposed))
            except BuildError as error:
                if named:
                    raise CannotRun(str(error)) from None
                print(f"skipped: {error}", file=sys.stderr)
        return found
