"""Text of strangers, as a terminal and a log may show it.

Belongs here: making signs visible that steer a terminal or turn a line round, and log lines made so. Does not belong
here: secrets (`secrets`), JSON and HTML, which have escapes of their own.
"""

from __future__ import annotations

import logging
import sys

from lake_resources.secrets import masked


def legible(text: str, *, lines: bool = False) -> str:
    """The text with each sign that is no print shown as its escape: ANSI, OSC, turns of direction, NUL.

    Args:
        text: of anybody.
        lines: it may have several; else a line break is shown as its escape too, so that no line is forged.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or (lines and sign == "\n") else ascii(sign)[1:-1] for sign in text)


class LegibleFormatter(logging.Formatter):
    """One line per record, without passwords, whatever text of strangers it quotes; a traceback follows on its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the library
        """The line of a record."""
        return legible(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback where there is one."""
        return masked(legible(super().format(record), lines=True))


def log_to_stdout() -> None:
    """Let this process log from INFO on, each line with its time."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LegibleFormatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
