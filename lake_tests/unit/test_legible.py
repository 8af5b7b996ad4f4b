"""What strangers wrote is shown without what steers a terminal or forges a line, in tables and in logs."""

from __future__ import annotations

import logging
import sys

import pytest
from rich.table import Table

from lake_assets.cli.printing import coloured, messages, terminal
from lake_resources.legible import LegibleFormatter, legible

STRANGE = "a\x1b[31m\x1b]8;;http://evil\x07\u202e\x00\x9b2J\u2028[bold]é東"
SHOWN = r"a\x1b[31m\x1b]8;;http://evil\x07\u202e\x00\x9b2J\u2028[bold]é東"


def test_signs_that_are_no_print_are_shown_as_their_escapes() -> None:
    assert legible(STRANGE) == legible(STRANGE, lines=True) == SHOWN
    assert (legible("a\nb"), legible("a\nb", lines=True)) == (r"a\nb", "a\nb")
    assert legible("plain é 東") == "plain é 東"


def test_lines_tables_and_coloured_text_are_printed_so(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(STRANGE, title=STRANGE)
    table.add_row(STRANGE)
    table.add_row(coloured(STRANGE, "red"))
    terminal().print(table)
    terminal().print(STRANGE, coloured(STRANGE, "green", STRANGE), soft_wrap=True)
    messages().print(STRANGE, soft_wrap=True)
    printed = capsys.readouterr()
    assert all(sign.isprintable() or sign == "\n" for sign in printed.out + printed.err), printed
    assert printed.out.count(SHOWN) == 7
    assert printed.err == SHOWN + "\n"
    edges = {line.rstrip()[-1] for line in printed.out.splitlines() if line.startswith("│")}
    assert edges == {"│"}, "the table is laid out with what is shown"


def test_a_log_line_is_one_line_without_passwords() -> None:
    try:
        int("\x1b[2J")
    except ValueError:
        record = logging.LogRecord("x", logging.INFO, "", 0, "said %s", (f"{STRANGE}\nforged",), sys.exc_info())
    lines = LegibleFormatter("%(levelname)s %(message)s").format(record).splitlines()
    assert lines[0] == f"INFO said {SHOWN}\\nforged"
    assert lines[1].startswith("Traceback")
    assert r"'\x1b[2J'" in lines[-1]
    secret = logging.LogRecord("x", logging.INFO, "", 0, "from wss://me:hunter2@host/x", (), None)
    assert LegibleFormatter().format(secret) == "from wss://***@host/x"
