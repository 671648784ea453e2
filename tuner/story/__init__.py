"""What a finished study has to tell, gathered from its ledger, its files and its data."""

from __future__ import annotations

from tuner.story.tell import tell

__all__ = ["tell"]
