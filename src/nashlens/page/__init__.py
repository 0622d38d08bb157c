"""The page: one HTML file of an experiment, made from its tables; it computes nothing.

- `study`: the tables, each with what it was made from.
- `board`: the first screen; `sections`: a section per claim; `method`: what a claim's module says.
- `charts`: Vega-Altair charts of tables of estimates.
- `matches`, `transcripts`: matches to browse, and what each agent saw in them; `samples`: a few
  without JavaScript.
- `compare`: several experiments side by side.
- `html`: from these to text, with everything escaped; `words`: numbers and verdicts in words.
"""

from nashlens.page.html import build_page
from nashlens.page.study import StudyTables, load_study

__all__ = ["StudyTables", "build_page", "load_study"]
