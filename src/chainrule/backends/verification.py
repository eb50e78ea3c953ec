"""How the stages below the graph are verified: with CHAINRULE_VERIFY=1, as in all tests.

It is off otherwise: where machine code is found on disk it would be a tenth of the time of the
first call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..errors import ChainruleError


def is_on() -> bool:
    """Whether each stage verifies its result before the next one reads it."""
    return os.environ.get("CHAINRULE_VERIFY", "") not in ("", "0")


class Rules:
    """What makes the result of a stage legal: rules with names.

    stage     what they are about: a program, a plan, a schedule
    error     the class of error for a broken rule
    culprit   what has a defect if a rule is broken
    expected  what each rule expects, by name
    """

    def __init__(
        self, stage: str, error: type[ChainruleError], culprit: str, expected: Mapping[str, str]
    ) -> None:
        self.stage, self.error, self.culprit, self.expected = stage, error, culprit, expected

    def broken(self, rule: str, how: str) -> ChainruleError:
        """The error for a result that breaks a rule."""
        return self.error(
            "verify",
            f"got a {self.stage} that {how}, against the rule {rule!r}",
            f"expected {self.expected[rule]}",
            f"report it: {self.culprit} has a defect",
        )
