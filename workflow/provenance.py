"""What each result was made from: the slice of the config that its rule reads, and a fingerprint.

A rule declares in its `params:` which keys of the config it reads. What lies upstream is not
declared: it follows from the rule's own `input:`, whose files are looked up among the outputs of
all rules. A fingerprint is a hash of the slice, of the code closure of the rule's script, and of
the fingerprints of everything upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from workflow.fingerprint import Code, Entries, digest
from workflow.records import Digests

JOBS = ("part", "parts")
"""Wildcards that say how a stage is split into jobs, which changes no result."""


STRATEGIES = "nashlens.strategies"
_ALTERNATIVES = {
    "nashlens.prompts.templates": (
        "TEMPLATES",
        (("prompts", "templates"), ("matches", "templates")),
    ),
    STRATEGIES: ("STRATEGIES", (("prompts", "opponents"), ("agents", "*", "strategy"))),
}
"""Module -> the mapping of which only the entries count that are used, and the keys of the config
that name them."""


@dataclass(frozen=True)
class Stage:
    """What a rule declares, or a piece that its job keeps for later runs."""

    reads: Sequence[str] = ()
    """Keys of the config, dotted; `{model}`, `{agent}`, `{mode}`: one for each of the subject's;
    `{steered}`: one for each steered agent of its models; `{game}`: one for each of all games."""
    modules: Sequence[str] | Callable[[Mapping[str, str]], Sequence[str]] = ()
    """Code that its script imports by names that the source does not show. Of a piece: all code."""
    of: str | None = None
    """Of a piece: the rule's only input that it is made from."""
    uses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Module -> alternatives in it that its code names, besides those that its slice names."""
    words: Callable[[Mapping[str, str]], Any] | None = None
    """A JSON value that counts: what the code takes from a module whose alternatives do not."""
    files: Callable[[Mapping[str, str]], Sequence[str]] | None = None
    """A user's own files whose bytes count; one that is missing counts as such."""
    anew: bool = False
    """Whether it is about what lies on disk, which is no part of a fingerprint."""
    pieces: Mapping[str, Stage] = field(default_factory=dict)
    """Entry of `params:` -> what a piece depends on besides its own key."""


class Provenance:
    """Slices and fingerprints of one experiment's stages, each named as its rule.

    A stage's subject is its wildcards: a model, a group of play, or nothing (the experiment).

    Parameters
    ----------
    config : mapping
        The checked config, as plain values.
    root : Path
        Where `scripts/` and `src/` lie.
    models : sequence of str
        The models that an agent uses.
    groups : mapping of str to sequence of str
        Group of play -> its agents.
    list_rules : callable
        Returns Snakemake's rules; called when all of them have been read.
    digests : Digests
        Of a user's own files.
    code_memory : Path, optional
        See `workflow.fingerprint.Code`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        root: Path,
        models: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        list_rules: Callable[[], Iterable[Any]],
        digests: Digests,
        code_memory: Path | None = None,
    ):
        self.digests = digests
        self.code = Code(root / "src", code_memory)
        self.config = config
        self.root = root
        self.models = list(models)
        self.groups = groups
        self.stages: dict[str, Stage] = {}
        self._list_rules = list_rules
        self._fingerprints: dict[tuple[Any, ...], str] = {}
        self._code_hashes: dict[tuple[Any, ...], str] = {}

    @cached_property
    def _rules(self) -> dict[str, Any]:
        return {rule.name: rule for rule in self._list_rules()}

    @cached_property
    def _outputs(self) -> list[tuple[str, Any, str]]:
        # A pattern's constant start is compared first, being cheap.
        return [
            (output.constant_prefix(), output, name)
            for name, rule in self._rules.items()
            for output in rule.output
        ]

    def params(self, name: str, stage: Stage) -> dict[str, Callable[[Any], Any]]:
        """Declare a rule's stage and return the rule's `params:`.

        They are `config`, the slice that the stage reads, `fingerprint`, and the fingerprints of
        its pieces.
        """
        self.stages[name] = stage

        def hashed(own: Stage) -> Callable[[Any], str]:
            return lambda wildcards: self._fingerprint(name, own, dict(wildcards))

        return {
            "config": lambda wildcards: self.slice(stage.reads, dict(wildcards)),
            "fingerprint": hashed(stage),
            **{entry: hashed(piece) for entry, piece in stage.pieces.items()},
        }

    def models_of(self, wildcards: Mapping[str, str]) -> list[str]:
        """List the models that a stage is about: one, those of a group of play, or all."""
        if "model" in wildcards:
            return [wildcards["model"]]
        if "group" not in wildcards:
            return self.models
        agents = self.groups[wildcards["group"]]
        models = (self.config["agents"][agent]["model"] for agent in agents)
        return list(dict.fromkeys(model for model in models if model is not None))

    def slice(self, reads: Sequence[str], wildcards: Mapping[str, str]) -> dict[str, Any]:
        """Return the part of the config under some keys, nested as in the config."""
        agents = self.groups[wildcards["group"]] if "group" in wildcards else ()
        names = {
            "{model}": self.models_of(wildcards),
            "{agent}": agents,
            "{steered}": self._steered(wildcards),
            "{game}": list(self.config["games"]),
            "{mode}": sorted({self.config["agents"][agent]["mode"] for agent in agents}),
        }
        keys = []
        for key in reads:
            kind = next((kind for kind in names if kind in key), None)
            keys += [key.replace(kind, name) for name in names[kind]] if kind else [key]
        return pick(self.config, keys)

    def _steered(self, wildcards: Mapping[str, str]) -> list[str]:
        """List the steered agents of a subject's models."""
        models = self.models_of(wildcards)
        agents = self.config["agents"].items()
        return [
            name for name, agent in agents if agent["intervention"] and agent["model"] in models
        ]

    def fingerprint(self, name: str, wildcards: Mapping[str, str]) -> str:
        """Return the hash of a stage's slice, of its code, and of everything upstream."""
        return self._fingerprint(name, self.stages[name], wildcards)

    def upstream(
        self, name: str, wildcards: Mapping[str, str], of: str | None = None
    ) -> list[tuple[str, dict[str, str]]]:
        """List the stages that make a rule's input files, each with its wildcards.

        Parameters
        ----------
        name : str
            The rule.
        wildcards : mapping of str to str
        of : str, optional
            Only of the input of this name.
        """
        files = self._rules[name].expand_input(dict(wildcards))[0]
        if of is not None:
            files = files[of] if isinstance(files[of], list) else [files[of]]
        # A file that no rule makes is a user's own: Snakemake sees when it changes.
        makers = [maker for file in files if (maker := self.find_maker(file)) is not None]
        return list({(made, _subject(given)): (made, given) for made, given in makers}.values())

    def jobs(self, targets: Iterable[str]) -> Iterator[tuple[str, dict[str, str], list[str]]]:
        """Yield each job that some target rules need: its rule, its wildcards and its outputs."""
        files = [path for name in targets for path in self._rules[name].expand_input({})[0]]
        seen: set[tuple[str, ...]] = set()
        while files:
            maker = self.find_maker(str(files.pop()))
            if maker is None:
                continue
            name, wildcards = maker
            if (key := (name, *map(str, sorted(wildcards.items())))) in seen:
                continue
            seen.add(key)
            rule = self._rules[name]
            yield name, wildcards, [str(path) for path in rule.expand_output(wildcards)[0]]
            files += rule.expand_input(wildcards)[0]

    def find_maker(self, path: str) -> tuple[str, dict[str, str]] | None:
        """Return the rule that makes a file, with its wildcards, or None if no rule does."""
        for prefix, output, name in self._outputs:
            if path.startswith(prefix) and (match := output.match(path)):
                return name, match.groupdict()
        return None

    def _fingerprint(self, name: str, stage: Stage, wildcards: Mapping[str, str]) -> str:
        key = (name, stage.of, *_subject(wildcards))
        if key not in self._fingerprints:
            files = [] if stage.files is None else stage.files(wildcards)
            words = None if stage.words is None else stage.words(wildcards)
            self._fingerprints[key] = digest(
                {
                    **({"files": [self.digests.of(path) for path in files]} if files else {}),
                    **({"words": words} if words else {}),
                    "slice": self.slice(stage.reads, wildcards),
                    "code": self._code_hash(name, stage, wildcards),
                    "upstream": {
                        "/".join((maker, *_subject(given))): self.fingerprint(maker, given)
                        for maker, given in self.upstream(name, wildcards, stage.of)
                    },
                    "pieces": [
                        self._fingerprint(name, piece, wildcards) for piece in stage.pieces.values()
                    ],
                }
            )
        return self._fingerprints[key]

    def _code_hash(self, name: str, stage: Stage, wildcards: Mapping[str, str]) -> str:
        modules = stage.modules(wildcards) if callable(stage.modules) else stage.modules
        script = None
        if stage.of is None:
            script = self.root / "scripts" / Path(self._rules[name].script).name
        entries = used_entries(self.slice(stage.reads, wildcards), stage.uses)
        key = (script, *modules, *entries.values())
        if key not in self._code_hashes:
            self._code_hashes[key] = self.code.hash(script, modules, entries)
        return self._code_hashes[key]


def used_entries(
    config: Mapping[str, Any], uses: Mapping[str, Sequence[str]]
) -> dict[str, Entries]:
    """Return which alternatives of some modules a slice of the config names, or the code."""
    return {
        module: Entries(
            table,
            frozenset([*uses.get(module, ()), *(n for key in keys for n in _named(config, key))]),
        )
        for module, (table, keys) in _ALTERNATIVES.items()
    }


def _named(value: Any, key: Sequence[str]) -> list[str]:
    """List the names that a config has under a key; `*` stands for any name."""
    for k, part in enumerate(key):
        if part == "*":
            return [n for one in value.values() for n in _named(one, key[k + 1 :])]
        value = value.get(part, {})
    return [value] if isinstance(value, str) else list(value or ())


def _subject(wildcards: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(value for name, value in sorted(wildcards.items()) if name not in JOBS)


def pick(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the part of a nested mapping under some dotted keys; keys that are not there are none.

    Names may hold dots (`models.qwen2.5.source`), so the longest name that fits is taken.
    """
    chosen: dict[str, Any] = {}
    for key in keys:
        source, target, parts = config, chosen, key.split(".")
        while parts:
            for end in range(len(parts), 0, -1):
                name = ".".join(parts[:end])
                if isinstance(source, Mapping) and name in source:
                    break
            else:
                break
            source, parts = source[name], parts[end:]
            if parts:
                target = target.setdefault(name, {})
            else:
                target[name] = source
    return chosen
