"""How complete a window is, as a number that is never rounded up.

Belongs here: that one number. Does not belong here: counting what is there, excusing what is not.
"""

from __future__ import annotations

_HUNDREDTHS = 10_000


def completeness_pct(present: int, expected: int) -> float:
    """Percent of expected minutes that are there, cut (not rounded) to two decimals: 100.0 means all of them.

    Args:
        present: minutes that exist, 0 to `expected`.
        expected: minutes that must exist; where none must, the window is complete.

    Raises:
        ValueError: `present` is negative or more than `expected`.
    """
    if not 0 <= present <= expected:
        raise ValueError(f"{present} of {expected} minutes")
    return present * _HUNDREDTHS // expected / 100 if expected else 100.0
