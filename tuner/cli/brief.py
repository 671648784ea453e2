"""What keeps a brief command brief; only for a process that ends with its command."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any


def be_brief() -> None:
    """Save what a command of few seconds gets nothing for; call before anything heavy is imported.

    Searching a million imported objects for garbage. Threads that spin while they wait: a promotion
    often runs beside a study, and doubles its own time in keeping processors busy. Pandas, which
    MLflow's registry does without (MLflow Skinny has none) but imports where it is.
    """
    gc.disable()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    modules: dict[str, Any] = sys.modules
    modules.setdefault("pandas", None)
