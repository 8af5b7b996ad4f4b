"""Exit codes of the command `lake`: one meaning each, whichever subcommand.

Belongs here: the codes, and which error gives which. Does not belong here: printing, a command's own verdict.
"""

from __future__ import annotations

from enum import IntEnum

from lake_resources.errors import LakeError, NotClean, NotYet, SettingsError


class Exit(IntEnum):
    """What a process of `lake` ends with. Code 1 says that something was looked at; 2 to 4 that it was not."""

    DONE = 0
    REFUSED = 1
    """Something is wrong: defects were found, hours stay wrong, or what was asked for is refused because of them."""
    USAGE = 2
    NOT_THERE_YET = 3
    FAILED = 4
    """It could not be looked at, or not be done: exchange, lake, table or disk failed."""


def exit_of(error: LakeError) -> Exit:
    """The exit code of a command that ends with an error of the lake."""
    if isinstance(error, SettingsError):
        return Exit.USAGE
    if isinstance(error, NotYet):
        return Exit.NOT_THERE_YET
    return Exit.REFUSED if isinstance(error, NotClean) else Exit.FAILED
