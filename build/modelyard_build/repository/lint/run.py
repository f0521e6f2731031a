"""Holds repositories and deployment files against the rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from modelyard_build.repository.lint.ignores import Ignores, ignores
from modelyard_build.repository.lint.rule import Raised, Rule, Severity
from modelyard_build.repository.lint.rules import BY_CODE, RULES
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Config, Deployment, Model, Repositories, Repository
from modelyard_build.repository.text_format.splice import Edit
from modelyard_build.repository.text_format.syntax import Document

# What tells of a config that cannot be parsed looks at each; every other rule at valid ones alone.
UNPARSABLE = "MY101"
# Of one rule about one file; more are of no use, and a hostile file could make millions.
MOST_FINDINGS = 200
# From so many models on, several processes pay for their start.
SPLIT_FROM = 128


@dataclass(frozen=True)
class Finding:
    """A rule's finding, with its place as people count.

    Attributes:
        rule: what was broken.
        message: what is there, what is expected, and the next step.
        path: the file or folder.
        line, column: where it starts, from 1; 0 where it is about the whole file or folder.
        end_line, end_column: where it ends; the column is the one after the last.
        source: the line's text.
        fix: the edits that mend it, where there is one safe mend.
    """

    rule: Rule
    message: str
    path: Path
    line: int
    column: int
    end_line: int
    end_column: int
    source: str
    fix: tuple[Edit, ...]

    @property
    def severity(self) -> Severity:
        """The rule's."""
        return self.rule.severity


@dataclass
class Judged:
    """What the rules said of some subjects.

    Attributes:
        findings: those that are to be said.
        ignores: the comments that were met, by file.
    """

    findings: list[Finding] = field(default_factory=list)
    ignores: dict[Path, Ignores] = field(default_factory=dict)

    def add(self, other: Judged) -> None:
        """Takes up what was said of other subjects."""
        self.findings += other.findings
        for path, met in other.ignores.items():
            self.ignores.setdefault(path, met).used |= met.used


def lint(
    repositories: Sequence[Repository],
    deployments: Sequence[Deployment],
    settings: Settings,
    rules: Collection[Rule],
    *,
    only: Collection[Path] = (),
    processes: int = 1,
) -> list[Finding]:
    """Everything the rules find, by file and line.

    Args:
        repositories: those that one server is given together.
        deployments: the files that say how it is started.
        settings: what all of it is held against.
        rules: those that are asked.
        only: the folders of models, or repositories, that are meant; empty: all of them.
        processes: how many may share the work where there are many models. They are forked: a process that has
            threads asks for 1.

    Raises:
        BuildError: one of the processes was ended from outside.
    """
    for repository in repositories:
        repository.beside = [other for other in repositories if other is not repository]
    models = [
        model
        for repository in repositories
        for model in repository.models.values()
        if not only or model.folder in only or repository.path in only
    ]
    if processes > 1 and len(models) >= SPLIT_FROM:
        from modelyard_build.repository.lint.parallel import judge_in_processes

        judged = judge_in_processes(models, rules, processes)
    else:
        judged = judge_models(models, rules)
    judged.add(_judge_together(repositories, settings, rules, only))
    for deployment in deployments:
        judged.add(judge(deployment, rules))
    found = judged.findings + _of_comments(judged.ignores.values(), rules)
    return sorted(found, key=lambda finding: (finding.path, finding.line, finding.column, finding.rule.code))


def check(subject: object, rules: Collection[Rule] = RULES) -> list[Finding]:
    """What the rules about a kind of subject find in one."""
    return judge(subject, rules).findings


def judge_models(models: Iterable[Model], rules: Collection[Rule]) -> Judged:
    """What the rules find in models and their configs."""
    judged = Judged()
    of_models = [rule for rule in rules if issubclass(Model, rule.subject)]
    of_configs = [rule for rule in rules if issubclass(Config, rule.subject)]
    for model in models:
        judged.add(judge(model, of_models))
        for config in model.configs:
            judged.add(judge(config, of_configs))
    return judged


def _judge_together(
    repositories: Sequence[Repository], settings: Settings, rules: Collection[Rule], only: Collection[Path]
) -> Judged:
    """What the rules find that look at several models at once, as far as it is about those that are meant."""
    judged = Judged()
    for subject in (Repositories(list(repositories), settings), *repositories):
        judged.add(judge(subject, rules))
    if only:
        judged.findings = [
            finding
            for finding in judged.findings
            if any(path in only for path in (finding.path, *finding.path.parents))
        ]
    return judged


def judge(subject: object, rules: Collection[Rule]) -> Judged:
    """What the rules about a kind of subject find in one, and the comments of the files that they found it in."""
    asked = [rule for rule in rules if isinstance(subject, rule.subject)]
    if isinstance(subject, Config) and not subject.is_valid:
        asked = [rule for rule in asked if rule.code == UNPARSABLE]
    judged = Judged()
    for rule in asked:
        for raised in islice(rule.check(subject), MOST_FINDINGS):
            _take(judged, subject, rule, raised)
    if isinstance(subject, Config | Deployment):
        _ignores_of(judged, subject)
    return judged


def placed(rule: Rule, raised: Raised, document: Document) -> Finding:
    """A finding with lines and columns."""
    if not raised.end:
        return Finding(rule, raised.message, raised.path, 0, 0, 0, 0, "", raised.fix)
    line, column = document.position(raised.start)
    end_line, end_column = document.position(raised.end)
    return Finding(
        rule, raised.message, raised.path, line, column, end_line, end_column, document.line(line), raised.fix
    )


def _take(judged: Judged, subject: object, rule: Rule, raised: Raised) -> None:
    """Adds a finding, unless a comment of its file asks to say nothing of it."""
    file = _file_of(subject, raised.path)
    finding = placed(rule, raised, _document(file))
    met = _ignores_of(judged, file) if file else None
    if met is None or not met.cover(rule.code, finding.line):
        judged.findings.append(finding)


def _file_of(subject: object, path: Path) -> Config | Deployment | None:
    """The file whose comments are asked about a finding; for a folder or an artefact the model's config.pbtxt."""
    if isinstance(subject, Config | Deployment) and subject.path == path:
        return subject
    for repository in _repositories_of(subject):
        if repository.path in path.parents and (
            model := repository.models.get(path.relative_to(repository.path).parts[0])
        ):
            return next((config for config in model.configs if config.path == path), model.config)
    return None


def _repositories_of(subject: object) -> list[Repository]:
    if isinstance(subject, Repositories):
        return subject.repositories
    if isinstance(subject, Config):
        subject = subject.model
    if isinstance(subject, Model):
        subject = subject.repository
    return [subject] if isinstance(subject, Repository) else []


def _document(file: Config | Deployment | None) -> Document:
    if isinstance(file, Config):
        return file.document
    return Document(file.text if file else "")


def _ignores_of(judged: Judged, file: Config | Deployment) -> Ignores | None:
    if file.path not in judged.ignores and (
        found := ignores(file.path, _document(file), yaml=isinstance(file, Deployment))
    ):
        judged.ignores[file.path] = found
    return judged.ignores.get(file.path)


def _of_comments(met: Iterable[Ignores], rules: Collection[Rule]) -> list[Finding]:
    """What the rules about comments find, once it is known which of them had an effect."""
    found = []
    for each in met:
        each.asked, each.known = frozenset(rule.code for rule in rules), frozenset(BY_CODE)
        document = Document(each.text)
        asked = [rule for rule in rules if rule.subject is Ignores]
        found += [
            placed(rule, raised, document) for rule in asked for raised in islice(rule.check(each), MOST_FINDINGS)
        ]
    return found
