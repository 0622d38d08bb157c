"""Matches to browse: a bounded, stratified sample of all that were played, as plain data.

Lines of prompts are the same in many matches, so each stands once in a list and prompts are
numbers into it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, zip_longest
from typing import Any, NamedTuple

import pandas as pd

from nashlens.games.game import SEATS
from nashlens.games.table import games_from_table
from nashlens.page.study import StudyTables
from nashlens.page.transcripts import Transcript, Wording, transcripts
from nashlens.page.words import known
from nashlens.prompts.design import game_labels

MOST_MATCHES = 5000
MOST_BYTES = 1_300_000
"""Size of the embedded matches, as JSON; from here on no further match is embedded."""
PLAYED = {"play": ("play", "steered_play"), "texts": ("texts", "steered_texts")}
"""What is read -> the tables that hold it, the second that of steered players."""
STRATUM = ["game", "row_agent", "column_agent", "move_order"]
DECIMALS = 3
_COLUMNS = (
    *("match_id", "game", "variant", "row_agent", "column_agent", "move_order", "pairing"),
    *("horizon", "match_rounds", "template", "label_set", "label_kind", "label_map"),
    *("option_order", "round", "seat", "mode", "action", "opponent_action", "payoff"),
    *("p_action_0", "p_action_1", "p_expected_0", "label_mass", "kind", "attempt", "text"),
)
"""Columns of play and of texts that are read."""


class Left(NamedTuple):
    """How many matches of one kind were played, and how many of them are in the page."""

    game: str
    agents: str
    move_order: str
    played: int
    shown: int


class Browser(NamedTuple):
    """The matches in the page."""

    data: dict[str, Any]
    strata: list[Left]
    played: int
    shown: int
    why: str
    """What bounded the sample; empty where all matches are in."""
    tables: list[str]
    """Those that hold all matches: decisions and texts, and those of steered players."""
    code: str
    """Python that reads them, and shows one match; empty where there is none."""


def browse(study: StudyTables, most: int = MOST_MATCHES, size: int = MOST_BYTES) -> Browser:
    """Choose matches, and return what the page shows of them.

    From each stratum (game, agents, move order) one match is taken in turn, in an order drawn by
    their names, until all are in or a bound is reached.

    Parameters
    ----------
    study : StudyTables
    most : int
        Matches at most.
    size : int
        Bytes of JSON at most.
    """
    play, texts = _played(study)
    about = play.drop_duplicates("match_id").set_index("match_id")
    if about.empty:
        return Browser(_empty(), [], 0, 0, "", _tables(study), "")
    packer = _Packer(study)
    first = list(islice(_in_turn(about), most))
    matches, written = _by_match(play, first), _by_match(texts, first)
    shown: list[str] = []
    why = f"{most:,} matches at most" if len(first) < len(about) else ""
    for name in first:
        packer.add(matches[name], written.get(name, []))
        if packer.size > size:
            packer.drop_last()
            why = f"{size / 1e6:.1f} MB of text at most"
            break
        shown.append(name)
    chosen, data = about.index.isin(shown), packer.data()
    counts = about.assign(shown=chosen).groupby(STRATUM, sort=False)["shown"].agg(["size", "sum"])
    strata = [
        Left(
            game=data["games"][row["game"]]["title"],
            agents=f"{row['row_agent']} with {row['column_agent']}",
            move_order=str(row["move_order"]).replace("_", " "),
            played=int(row["size"]),
            shown=int(row["sum"]),
        )
        for row in counts.reset_index().to_dict("records")
    ]
    code = _code(study, first[0])
    return Browser(data, strata, len(about), len(shown), why, _tables(study), code)


def _played(study: StudyTables) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return all decisions and texts, those of steered players too."""
    found = []
    for table in PLAYED:
        parts = [one for name in PLAYED[table] if (one := study.table(name)) is not None]
        found.append(pd.concat(parts, ignore_index=True) if parts else study.tables[table])
    return found[0], found[1]


def _tables(study: StudyTables) -> list[str]:
    return [name for names in PLAYED.values() for name in names if name in study.tables]


def _code(study: StudyTables, match: str) -> str:
    """Return Python that reads all matches, and shows one of them."""
    reads = []
    for table, names in PLAYED.items():
        parts = [f"study[{name!r}]" for name in names if name in study.tables]
        joined = f"pd.concat([{', '.join(parts)}])" if len(parts) > 1 else parts[0]
        reads.append(f"{table} = {joined}")
    one = f"match_id == {match!r}"
    lines = [
        *(["import pandas as pd"] if any("pd." in line for line in reads) else []),
        "import nashlens",
        f"study = nashlens.open({f'results/{study.name}'!r})",
        *reads,
        f"texts.query({one!r})",
        f'play.query({one!r}).sort_values(["round", "seat"])',
    ]
    return "\n".join(lines)


def _by_match(table: pd.DataFrame, names: list[str]) -> dict[str, list[dict[Any, Any]]]:
    """Return the rows of some matches, each match's in the table's order."""
    found: dict[str, list[dict[Any, Any]]] = {}
    columns = [name for name in _COLUMNS if name in table.columns]
    for row in table.loc[table["match_id"].isin(names), columns].to_dict("records"):
        found.setdefault(row["match_id"], []).append(row)
    return found


def _in_turn(about: pd.DataFrame) -> Iterator[str]:
    """Yield the matches' names, one of each stratum in turn."""
    names = about.index.to_series()
    drawn = names.map(lambda name: hashlib.sha256(str(name).encode()).hexdigest()).sort_values()
    ordered = about.loc[drawn.index]
    strata = [list(part.index) for _, part in ordered.groupby(STRATUM, sort=True)]
    for turn in zip_longest(*strata):
        yield from (name for name in turn if name is not None)


def _empty() -> dict[str, Any]:
    return {"lines": [], "rules": [], "games": {}, "matches": [], "window": None, "system": None}


class _Packer:
    """Puts matches into lists, and knows how large they are."""

    def __init__(self, study: StudyTables):
        self.wording = Wording.of(study.config)
        self.system = study.config["prompts"].get("system")
        games = games_from_table(study.tables["games"])
        self.games = {(game.name, game.variant): game for game in games}
        self.lines: dict[str, int] = {}
        self.rules: dict[tuple[int, ...], int] = {}
        self.matches: list[dict[str, Any]] = []
        self.size = 0
        self._before = 0

    def data(self) -> dict[str, Any]:
        """Return everything as plain data."""
        names = {game.name: game for game in self.games.values() if game.variant == 0}
        return {
            "lines": list(self.lines),
            "rules": [list(rule) for rule in self.rules],
            "games": {
                name: {"title": game.title, "actions": list(game.actions)}
                for name, game in names.items()
            },
            "matches": self.matches,
            "window": self.wording.window,
            "system": self.system,
        }

    def add(self, rows: list[dict[Any, Any]], written: list[dict[Any, Any]]) -> None:
        """Add one match: its rows of play, and of texts."""
        self._before = self.size
        by_round: dict[int, list[Mapping[str, Any]]] = {}
        for row in rows:
            pair = by_round.setdefault(int(row["round"]), [{}, {}])
            pair[SEATS.index(row["seat"])] = row
        rounds = [(pair[0], pair[1]) for _, pair in sorted(by_round.items())]
        first = rows[0]
        game = self.games[first["game"], int(first["variant"])]
        seen = transcripts(rounds, written, game, self.wording)
        labels = _labels(first, self.wording, game)
        match = {
            "id": first["match_id"],
            "game": first["game"],
            "agents": [first["row_agent"], first["column_agent"]],
            "order": first["move_order"],
            "pairing": first["pairing"],
            "modes": _modes(rounds),
            "form": f"{first['template']}, {first['label_set']}, {first['label_map']},"
            f" {first['option_order']}",
            "labels": labels,
            "seats": [
                self._seat(transcript, [pair[k] for pair in rounds], SEATS[k], written)
                for k, transcript in enumerate(seen)
            ],
        }
        self.matches.append(match)
        self.size += len(json.dumps(match, ensure_ascii=False).encode())

    def drop_last(self) -> None:
        """Leave out the match that was added last."""
        self.matches.pop()
        self.size = self._before

    def _seat(
        self,
        transcript: Transcript,
        rows: list[Mapping[str, Any]],
        seat: str,
        texts: Iterable[Mapping[str, Any]],
    ) -> dict[str, Any]:
        wrote: dict[int, list[list[str]]] = {}
        for text in texts:
            if text["seat"] == seat:
                attempt = f", attempt {text['attempt']}" if int(text["attempt"]) > 1 else ""
                said = [f"{text['kind']}{attempt}", text["text"]]
                wrote.setdefault(int(text["round"]), []).append(said)
        rounds = []
        for number, (seen, row) in enumerate(zip(transcript.rounds, rows, strict=True), start=1):
            one: dict[str, Any] = {
                "a": _whole(row.get("action")),
                "p": [_rounded(row.get("p_action_0")), _rounded(row.get("p_action_1"))],
                "pay": _rounded(row.get("payoff")),
                "q": self._line(seen.question),
            }
            optional: dict[str, Any] = {
                "t": self._line(seen.told),
                "s": self._line(seen.played),
                "x": self._line(seen.expected),
                "m": [self._line(line) for line in seen.more] or None,
                "e": _rounded(row.get("p_expected_0")),
                "mass": _rounded(row.get("label_mass")),
                "w": wrote.get(number),
            }
            rounds.append(one | {key: v for key, v in optional.items() if v is not None})
        rule = tuple(n for line in transcript.rules if (n := self._line(line)) is not None)
        return {"r": self.rules.setdefault(rule, len(self.rules)), "n": rounds}

    def _line(self, line: str | None) -> int | None:
        if line is None:
            return None
        if line not in self.lines:
            self.lines[line] = len(self.lines)
            self.size += len(line.encode()) + 3
        return self.lines[line]


def _labels(row: Mapping[str, Any], wording: Wording, game: Any) -> list[str]:
    pair = game_labels(wording.label_sets[row["label_set"]], game)
    return list(pair if row["label_map"] == "identity" else pair[::-1])


def _modes(rounds: list[tuple[Any, Any]]) -> list[str]:
    found = []
    for seat in (0, 1):
        mode = next((pair[seat].get("mode") for pair in rounds if pair[seat]), None)
        found.append(str(mode) if known(mode) else "script")
    return found


def _whole(value: Any) -> int | None:
    return int(value) if known(value) else None


def _rounded(value: Any) -> float | None:
    return round(float(value), DECIMALS) if known(value) else None
