"""On which games, words and templates directions are fitted, and which are kept for their test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nashlens.errors import DataError
from nashlens.kept import kept, neutral
from nashlens.vocabulary.edits import CONCEPT_KINDS

CONCEPT_ONLY = "concept_only"
"""Column of training prompts: whether their game serves concepts beside Nash alone."""
LEAST_TO_HOLD_OUT = {"label_set": 2, "template": 3}
"""Levels of a column from which on the last one, by name, is kept for the test by default."""


@dataclass(frozen=True)
class Training:
    """What directions know."""

    games: tuple[str, ...]
    label_sets: tuple[str, ...]
    """Of neutral words."""
    templates: tuple[str, ...]
    concept_games: tuple[str, ...] = ()
    """Those that concepts beside Nash are fitted on, too."""

    @classmethod
    def choose(
        cls,
        prompts: pd.DataFrame,
        games: Sequence[str],
        label_sets: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        concept_games: Sequence[str] = (),
    ) -> Training:
        """Choose the levels to train on.

        Parameters
        ----------
        prompts : DataFrame
            The prompts table, of all games.
        games : sequence of str
        label_sets, templates : sequence of str, optional
            All but the last by name where they are left out, or all if there are too few
            (`LEAST_TO_HOLD_OUT`).
        concept_games : sequence of str

        Raises
        ------
        DataError
            If a label set or template is not in the table.
        """
        used = neutral(kept(prompts))
        chosen = []
        for column, given in (("label_set", label_sets), ("template", templates)):
            levels = sorted(used[column].astype(str).unique())
            if given is None:
                chosen.append(levels[:-1] if len(levels) >= LEAST_TO_HOLD_OUT[column] else levels)
                continue
            unknown = sorted(set(given) - set(levels))
            if unknown:
                what = column.replace("_", " ")
                raise DataError(
                    f"steering.train_{column}s: no neutral prompt has the {what} {unknown[0]};"
                    f" there are {', '.join(levels) or 'none'}"
                )
            chosen.append(list(given))
        return cls(tuple(games), tuple(chosen[0]), tuple(chosen[1]), tuple(concept_games))

    @classmethod
    def from_config(
        cls, prompts: pd.DataFrame, steering: Mapping[str, Any], *, concepts: bool = False
    ) -> Training:
        """Choose as the config's section `steering` says; with `concepts`, their games too."""
        further: Sequence[str] = ()
        if concepts and set(steering["directions"]) & set(CONCEPT_KINDS):
            games = set(kept(prompts)["game"].astype(str)) - set(steering["test_games"])
            given = steering["concept_games"]
            further = sorted(games) if given is None else given
        return cls.choose(
            prompts,
            steering["train_games"],
            steering["train_label_sets"],
            steering["train_templates"],
            further,
        )

    def rows(self, prompts: pd.DataFrame) -> pd.DataFrame:
        """Return the prompts to train on, under their own index: with neutral words and others.

        Words with a meaning are those of each game, so that no set of them is held out. Where there
        are games for concepts alone, the column `concept_only` says which rows are theirs.
        """
        used = kept(prompts)
        games = {*self.games, *self.concept_games}
        here = used["game"].isin(games) & used["template"].isin(self.templates)
        is_neutral = used.index.isin(neutral(used).index)
        rows = used[here & (used["label_set"].isin(self.label_sets) | ~is_neutral)]
        if self.concept_games:
            rows = rows.assign(**{CONCEPT_ONLY: ~rows["game"].isin(self.games)})
        return rows

    def describe(self, prompts: pd.DataFrame) -> pd.DataFrame:
        """Add `seen_label_set` and `seen_template`: whether directions were fitted on them."""
        return prompts.assign(
            seen_label_set=prompts["label_set"].isin(self.label_sets),
            seen_template=prompts["template"].isin(self.templates),
        )
