"""Results in Python: one experiment's tables, activations, findings and config, for reading.

    study = nashlens.open("results/default")
    study["lens_layers"]
    study.activations("smollm2")[12]

Nothing is read before it is asked for, and nothing is written, moved or mended. What is missing
or half-made is an error that names the file and what to run.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nashlens.activations.readonly import ReadOnlyStore
from nashlens.activations.store import ActivationStore
from nashlens.errors import StoreError
from nashlens.files import parse_json
from nashlens.records import is_changed
from nashlens.tables import open_table, read_metadata, read_table
from nashlens.vocabulary.positions import DECISION
from nashlens.vocabulary.stages import INTERVENTION, left_out_by
from nashlens.vocabulary.tables import JOINED, SPLIT, WHOLE

if TYPE_CHECKING:
    import pandas as pd


def open(folder: str | Path) -> Results:
    """Open the results of one experiment, for reading.

    Parameters
    ----------
    folder : str or Path
        `results/NAME`, where NAME is the config's `experiment.name`.

    Returns
    -------
    Results
        Its tables, activations, findings and config.

    Raises
    ------
    StoreError
        If there is no such folder, or no table in it.

    Examples
    --------
    >>> import nashlens
    >>> study = nashlens.open("results/tiny")
    >>> study
    Results('results/tiny'): models tiny_llama, tiny_qwen
    >>> study["games"][["game", "nash_row", "prosocial_row"]].head(2)
                    game  nash_row  prosocial_row
    0  prisoners_dilemma         1              0
    1  prisoners_dilemma         1              0
    """
    return Results(folder)


class Results:
    """The results of one experiment, as `nashlens.open` gives them.

    A table is read anew each time: what you do to a frame changes no file and no other frame.

    Attributes
    ----------
    folder : Path
        Where they lie.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise StoreError(f"{folder}: no such folder{_siblings(self.folder.parent)}")
        if not any(True for _ in self):
            raise StoreError(
                f"{folder}: holds no table{_siblings(self.folder)}; run"
                " `snakemake --cores all figures` with this experiment's config first"
            )

    def __repr__(self) -> str:
        models = ", ".join(self.models) or "none yet"
        return f"Results('{self.folder.as_posix()}'): models {models}"

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the tables that are there, wholly or in part."""
        return (name for name in [*WHOLE, *SPLIT] if self._existing(name))

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Return a table, as `table(name)`; `study["lens/smollm2"]` is that of one model."""
        table, _, model = name.partition("/")
        return self.table(table, model=model or None)

    @property
    def models(self) -> list[str]:
        """Names of the models that have a table of their own, as in the config."""
        return sorted({path.stem for name in SPLIT for path in self._parts(name)})

    @property
    def tables(self) -> pd.DataFrame:
        """What is there: one row a table, and nothing is read but the files' headers.

        Returns
        -------
        pandas.DataFrame
            `table`, `rows`, `columns`, `models` (how many have one of their own; missing where
            one file has all), `megabytes`, `target` (the Snakemake target that makes it).

        Examples
        --------
        >>> import nashlens
        >>> study = nashlens.open("results/tiny")
        >>> study.tables.set_index("table").loc["heads", "target"]
        'circuits'
        """
        import pandas as pd

        rows = [self._describe(name) for name in self]
        return pd.DataFrame(rows).astype({"models": "Int64"})

    def table(
        self, name: str, *, model: str | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Read a table; `docs/reference/results.md` explains every column.

        Parameters
        ----------
        name : str
            As in `tables`.
        model : str, optional
            Read one model's file. Left out, the models' rows follow one another, with a column
            `model` in front where the table has none.
        columns : sequence of str, optional
            Read these columns only, which is faster for large tables.

        Returns
        -------
        pandas.DataFrame
            Tidy, one row an observation. Whole numbers that can be missing are `Int64`, texts
            `str`, probabilities and estimates `float64`.

        Raises
        ------
        StoreError
            If the table is missing, damaged, lacks a column, lacks a model that other tables
            have, or is half-made: under another config than that of the last run.

        Examples
        --------
        >>> import nashlens
        >>> study = nashlens.open("results/tiny")
        >>> lens = study.table("lens", columns=["layer", "p_action_0"])
        >>> lens.columns.tolist(), sorted(lens["model"].unique())
        (['model', 'layer', 'p_action_0'], ['tiny_llama', 'tiny_qwen'])
        >>> study.table("lens", model="tiny_llma")
        Traceback (most recent call last):
        nashlens.errors.StoreError: results/tiny/lens/tiny_llma.parquet: no such table; ...
        """
        import pandas as pd

        files = self.files(name, model=model)
        for path in files:
            self._check(path, name)
        frames = [self._read(path, columns) for path in files]
        if name in SPLIT and model is None:
            frames = [
                frame if "model" in frame else frame.assign(model=path.stem)[["model", *frame]]
                for frame, path in zip(frames, files, strict=True)
            ]
        return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)

    def columns(self, name: str) -> pd.Series:
        """Return a table's columns and their dtypes, of which nothing but the header is read.

        Examples
        --------
        >>> import nashlens
        >>> nashlens.open("results/tiny").columns("findings")[["estimate", "n", "verdict"]]
        estimate    float64
        n             Int64
        verdict         str
        dtype: object
        """
        with open_table(self.files(name)[0]) as file:
            return file.schema_arrow.empty_table().to_pandas().dtypes

    def files(self, name: str, *, model: str | None = None) -> list[Path]:
        """List the files of a table: one, or one a model.

        Raises
        ------
        StoreError
            If one is missing, or no table has this name.
        """
        if name not in WHOLE and name not in SPLIT:
            near = difflib.get_close_matches(name, [*WHOLE, *SPLIT], n=1)
            hint = f"did you mean {near[0]}?" if near else "`list(study)` has their names"
            raise StoreError(f"{self.folder}: no table is called {name}; {hint}")
        if model is None:
            wanted = [self._file(name)] if name in WHOLE else self._of_all_models(name)
        elif name in SPLIT or name in JOINED:
            wanted = [self.folder / name / f"{model}.parquet"]
        else:
            raise StoreError(
                f"{self._file(name)}: one table for all models; select rows by its columns"
            )
        for path in wanted:
            if not path.is_file():
                raise self._missing(path, name)
        return wanted

    @property
    def findings(self) -> pd.DataFrame:
        """The findings: one row a claim and subject, with estimate, interval and verdict.

        Examples
        --------
        >>> import nashlens
        >>> findings = nashlens.open("results/tiny").findings
        >>> findings.query("claim == 'M6'")[["model", "verdict"]].shape
        (2, 2)
        """
        return self["findings"]

    @property
    def config(self) -> dict[str, Any]:
        """The config of the last run, resolved: checked, and with all defaults filled in.

        Raises
        ------
        StoreError
            If `config.json`, which each run writes when it starts, is missing or damaged.

        Examples
        --------
        >>> import nashlens
        >>> nashlens.open("results/tiny").config["matches"]["rounds"]
        2
        """
        return parse_json(self.folder / "config.json", "the next run writes it")

    def provenance(self, name: str, *, model: str | None = None) -> dict[str, Any]:
        """Return what a table was made from.

        Returns
        -------
        dict
            `config` (the slice that its rule reads), `fingerprint` (a hash of that, of all that
            lies upstream, and of the code), `version` (of nashlens).

        Examples
        --------
        >>> import nashlens
        >>> nashlens.open("results/tiny").provenance("findings")["config"]
        {'findings': {'q_value': 0.05}}
        """
        files = self.files(name, model=model)
        if len(files) > 1:
            raise StoreError(f"{self.folder / name}: one file a model; name a model")
        return read_metadata(files[0])

    def activations(
        self, model: str, position: str = DECISION, *, untrained: bool = False
    ) -> ActivationStore:
        """Open a model's activations: `[layer]` reads that layer alone, from a memory map.

        Parameters
        ----------
        model : str
            As in the config.
        position : str
            One of `activations.positions`.
        untrained : bool
            Those of the same architecture with random weights.

        Returns
        -------
        ActivationStore
            `[layer]` is `(prompts, width)` float32, in the order of `prompt_ids`; 0 is the
            embedding, l the residual after block l.

        Raises
        ------
        StoreError
            If they are missing or half-made, or lack the position.

        Examples
        --------
        >>> import nashlens
        >>> study = nashlens.open("results/tiny")
        >>> residuals = study.activations("tiny_llama")
        >>> prompts = residuals.having(study["prompts/tiny_llama"].query("dropped == ''"))
        >>> residuals.layer(2, prompts["prompt_id"].tolist()).shape == (len(prompts), 32)
        True
        """
        folder = self.folder / "activations" / model / ("untrained" if untrained else "")
        target = "probes" if untrained else "activations"
        self._check_bytes(folder / "manifest.json", _made_by(target))
        store = ReadOnlyStore(folder)
        return store if position == DECISION else store.at(position)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"

    def _parts(self, name: str) -> list[Path]:
        return sorted((self.folder / name).glob("*.parquet"))

    def _existing(self, name: str) -> list[Path]:
        whole = [self._file(name)] if name in WHOLE else self._parts(name)
        return [path for path in whole if path.is_file()]

    def _of_all_models(self, name: str) -> list[Path]:
        if not self._parts(name):
            raise self._missing(self.folder / name / "MODEL.parquet", name)
        models = self._steered_models() if left_out_by(name) == INTERVENTION else self.models
        return [self.folder / name / f"{model}.parquet" for model in models]

    def _steered_models(self) -> list[str]:
        """List the models with a steered agent: no other has tables of steered play."""
        agents = [agent for agent in self.config["agents"].values() if agent["intervention"]]
        return sorted({agent["model"] for agent in agents})

    def _missing(self, path: Path, name: str) -> StoreError:
        key = left_out_by(name)
        unless = "" if key is None else f", unless the config leaves it out ({key})"
        return StoreError(f"{path}: no such table; {self._again(name)}{unless}")

    def _read(self, path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
        if columns is None:
            return read_table(path)
        with open_table(path) as file:
            has = file.schema_arrow.names
        absent = [column for column in columns if column not in has]
        if absent:
            raise StoreError(f"{path}: has no column {absent[0]}; it has {', '.join(has)}")
        return read_table(path, columns)

    def _describe(self, name: str) -> dict[str, Any]:
        paths = self._existing(name)
        rows = 0
        for path in paths:
            with open_table(path) as file:
                rows, columns = rows + file.metadata.num_rows, len(file.schema_arrow.names)
        return {
            "table": name,
            "rows": rows,
            "columns": columns,
            "models": len(paths) if name in SPLIT else None,
            "megabytes": sum(path.stat().st_size for path in paths) / 1e6,
            "target": SPLIT.get(name) or WHOLE[name],
        }

    def _check(self, path: Path, name: str) -> None:
        """Refuse a table that is damaged, or was made under another config than the last run's."""
        self._check_bytes(path, self._again(name))
        if not (self.folder / "config.json").is_file():
            return
        for key, value, now in _changed(read_metadata(path)["config"], self.config):
            raise StoreError(
                f"{path}: half-made: {key} was {_short(value)} when it was made and"
                f" {_short(now)} at the last run; {self._again(name)}"
            )

    def _check_bytes(self, path: Path, again: str) -> None:
        if is_changed(path, self.folder):
            why = "its bytes are not those that its record says: damaged, or being made now"
            raise StoreError(f"{path}: {why}; {again}")

    def _again(self, name: str) -> str:
        return _made_by(SPLIT.get(name) or WHOLE[name])


def _made_by(target: str) -> str:
    return f"`snakemake --cores all {target}` with this experiment's config makes it"


def _siblings(folder: Path) -> str:
    """Name the experiments in a folder, to end an error with."""
    found = sorted({path.parent.name for path in folder.glob("*/games.parquet")})
    return f"; {folder} holds the experiments {', '.join(found)}" if found else ""


def _changed(made: Mapping[str, Any], last: Any, above: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each key of a table's config that the last run's has otherwise, and both values."""
    for name, value in made.items():
        now = last.get(name) if isinstance(last, Mapping) else None
        if isinstance(value, Mapping):
            yield from _changed(value, now, f"{above}{name}.")
        elif now != value:
            yield f"{above}{name}", value, now


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
