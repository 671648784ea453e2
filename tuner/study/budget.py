"""How much a study may spend: trials, wall time, or device time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["trials", "seconds", "device_seconds"]

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DEVICE = {"gpuh": 3600, "cpuh": 3600, "gpum": 60, "cpum": 60}


@dataclass(frozen=True)
class Spent:
    """What a study has used so far; downtime between a stop and a resume is not in it."""

    trials: int = 0
    seconds: float = 0.0
    device_seconds: float = 0.0


@dataclass(frozen=True)
class Budget:
    """One bound on a study. `device` is `gpu` or `cpu` where device time is counted."""

    kind: Kind
    amount: float
    device: Literal["", "gpu", "cpu"] = ""

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`50` is trials; `90s`, `45m`, `2h`, `1d` wall time; `6gpuh`, `8cpuh` device time.

        Raises ValueError for anything else, or for nothing to spend.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
        if match is None:
            raise ValueError(_wrong(text))
        number, suffix = float(match[1]), match[2]
        if number <= 0:
            raise ValueError(f"budget is {text!r}, but must be more than nothing")
        if suffix in ("", "trials"):
            if number != int(number):
                raise ValueError(f"budget is {text!r}, but trials come in whole numbers")
            return cls("trials", number)
        if suffix in _SECONDS:
            return cls("seconds", number * _SECONDS[suffix])
        if suffix in _DEVICE:
            device: Literal["gpu", "cpu"] = "gpu" if suffix.startswith("gpu") else "cpu"
            return cls("device_seconds", number * _DEVICE[suffix], device)
        raise ValueError(_wrong(text))

    def spent_by(self, spent: Spent) -> float:
        """The part of this budget's own measure that has been used."""
        return float(getattr(spent, self.kind))

    def exhausted(self, spent: Spent) -> bool:
        """True once no further trial may start."""
        return self.spent_by(spent) >= self.amount

    def __str__(self) -> str:
        if self.kind == "trials":
            return f"{self.amount:.0f} trials"
        hours = self.amount / 3600
        amount = f"{hours:.3g} h" if hours >= 1 else f"{self.amount / 60:.3g} min"
        return f"{amount} of wall time" if not self.device else f"{amount} of {self.device} time"


def _wrong(text: str) -> str:
    return (
        f"budget is {text!r}, but must be a number of trials (50), a wall time (90s, 45m, 2h, 1d) "
        "or a device time (6gpuh, 8cpuh)"
    )
