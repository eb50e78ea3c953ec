"""Whether the stages below the graph are verified: with CHAINRULE_VERIFY=1, as in all tests.

It is off otherwise: where machine code is found on disk it would be a tenth of the time of the
first call.
"""

from __future__ import annotations

import os


def is_on() -> bool:
    """Whether each stage verifies what it hands to the next."""
    return os.environ.get("CHAINRULE_VERIFY", "") not in ("", "0")
