"""The parity suite compares with PyTorch, and is collected only where torch is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

collect_ignore_glob: list[str] = []
if importlib.util.find_spec("torch") is None:
    collect_ignore_glob.append("*.py")

    def pytest_terminal_summary(terminalreporter: Any) -> None:
        """Say why nothing was collected here."""
        terminalreporter.write_line(
            "tests/parity was not collected: torch is not installed (pip install torch)"
        )
