"""The errors of this folder."""

from __future__ import annotations


class DataError(ValueError):
    """Something is wrong with the data; the message names the value, the bound and the cure."""


class Wanting(DataError):
    """A category has no image of one kind; `train` and `test` count those that it has."""

    def __init__(self, text: str, *, train: int = 0, test: int = 0) -> None:
        super().__init__(text)
        self.train, self.test = train, test
