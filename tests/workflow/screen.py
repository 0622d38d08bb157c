"""A terminal as far as the console uses one: what stands on it after some output."""

from __future__ import annotations

import re

_PIECES = re.compile(r"\x1b\[(\d*)([A-Z])|(.)", re.DOTALL)


class Screen:
    """Lines of text, a cursor, and lines that were broken at the width.

    Parameters
    ----------
    columns : int
    """

    def __init__(self, columns: int):
        self.columns = columns
        self._rows = [""]
        self._goes_on = [False]
        """Whether a row is the rest of the one above."""
        self._row = self._column = 0

    def after(self, capsys) -> list[str]:
        """Return the rows after what was written to stderr since."""
        return self.play(capsys.readouterr().err)

    def play(self, text: str) -> list[str]:
        """Return the rows after some output."""
        for number, command, letter in _PIECES.findall(text):
            if command:
                self._obey(command, int(number or 0))
            elif letter == "\r":
                self._column = 0
            elif letter == "\n":
                self._down(goes_on=False)
            else:
                if self._column == self.columns:
                    self._down(goes_on=True)
                row = self._rows[self._row].ljust(self._column)
                self._rows[self._row] = row[: self._column] + letter + row[self._column + 1 :]
                self._column += 1
        return [row for row in self._rows if row]

    def resize(self, columns: int) -> None:
        """Break all lines anew, as terminals do; the cursor stays at the end of the last."""
        lines: list[str] = []
        for row, goes_on in zip(self._rows, self._goes_on, strict=True):
            lines += [] if goes_on else [""]
            lines[-1] += row
        self.columns, self._rows, self._goes_on = columns, [], []
        for line in lines:
            pieces = [line[k : k + columns] for k in range(0, len(line), columns)] or [""]
            self._rows += pieces
            self._goes_on += [k > 0 for k in range(len(pieces))]
        self._row, self._column = len(self._rows) - 1, len(self._rows[-1])

    def _obey(self, command: str, number: int) -> None:
        if command == "A":
            assert number > 0
            self._row = max(0, self._row - number)
        elif command == "J" and not number:
            self._rows[self._row] = self._rows[self._row][: self._column]
            del self._rows[self._row + 1 :], self._goes_on[self._row + 1 :]
        else:
            raise AssertionError(f"an escape that the console does not use: {number}{command}")

    def _down(self, *, goes_on: bool) -> None:
        self._row, self._column = self._row + 1, 0
        if self._row == len(self._rows):
            self._rows.append("")
            self._goes_on.append(goes_on)
