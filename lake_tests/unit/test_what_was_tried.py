"""Each line of the table "What was tried" names a command that exists and selects tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## What was tried")[2].partition("\n## ")[0]
LINES = [
    line for line in TABLE.splitlines() if line.startswith("| ") and "| command |" not in line and "---" not in line
]
_NAMED = re.compile(
    r"`(?:T/)?((?:unit|integration|e2e|contract|property)/test_\w+\.py|test_\w+\.py)(?: -k (\"[^\"]+\"|\w+))?`"
)


def test_the_table_is_there() -> None:
    assert len(LINES) > 30


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[2:40])
def test_its_command_selects_tests(line: str) -> None:
    command = line.rstrip("| ").rpartition("|")[2]
    if "lake_tests.bench.fuzz" in command:
        assert (REPOSITORY / "lake_tests" / "bench" / "fuzz.py").is_file()
        return
    named = _NAMED.findall(command)
    assert len(named) == command.count("test_"), command
    folder = ""
    for path, words in named:
        folder = path.rpartition("/")[0] or folder
        text = (REPOSITORY / "lake_tests" / folder / path.rpartition("/")[2]).read_text(encoding="utf-8")
        tests = re.findall(r"def (test_\w+)", text)
        for word in words.strip('"').split(" or ") if words else [""]:
            assert [name for name in tests if word in name], (path, word)
