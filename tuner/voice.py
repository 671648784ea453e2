"""How a job speaks to whoever started it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tuner.study.conductor import Conductor, Observer
    from tuner.study.ledger import Ledger
    from tuner.study.plan import Plan
    from tuner.study.workbench import Workbench


class Voice(Protocol):
    """How a job speaks to whoever started it."""

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def plan(self, plan: Plan, workbench: Workbench) -> None: ...

    def watch(self, plan: Plan, conductor: Conductor, ledger: Ledger) -> Observer | None: ...

    def unwatch(self) -> None: ...


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def plan(self, plan: Plan, workbench: Workbench) -> None: ...

    def watch(self, plan: Plan, conductor: Conductor, ledger: Ledger) -> Observer | None: ...

    def unwatch(self) -> None: ...
