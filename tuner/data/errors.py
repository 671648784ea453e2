"""The one error of this folder."""

from __future__ import annotations


class DataError(ValueError):
    """Something is wrong with the data; the message names the value, the bound and the cure."""
