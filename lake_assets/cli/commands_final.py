"""`lake validate-final`: does this root hold what the platform promises?

Belongs here: the command, its lines, its exit code. Does not belong here: the judgement (`quality.final_validation`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from lake_assets.at_rest import open_at_rest
from lake_assets.cli.options import AsJson, settings_for
from lake_assets.cli.printing import coloured, show_json, terminal
from lake_assets.quality.final_validation import judge_root, nothing_there, verdict
from lake_assets.watchdog.last_words import last_words
from lake_resources.clock import system_clock
from lake_resources.testing_mode import TEST_LABEL

app = typer.Typer()


@app.command("validate-final")
def validate_final(
    testing: Annotated[
        bool, typer.Option("--testing", help="judge the root of testing mode; by itself where the settings are of it")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge every table and symbol of a root: PASS or FAIL; no data is FAIL. Changes nothing.

    Continuity, audit (every file is read) and rules R1 to R7, up to the end of the last `lake up`. Exit code 1 on FAIL.

    Example: lake validate-final --testing
    """
    settings = settings_for(testing=testing)
    if settings.may_have_ledger:
        at, stopped = last_words(settings)
        lake = open_at_rest(settings)
        found = judge_root(settings, lake, until=at if stopped and at is not None else lake.clock())
        lake.close()
    else:
        found = nothing_there(settings)
    word, mode = verdict(found), settings.testing.enabled
    if as_json:
        named = "TEST" if mode else "PRODUCTION"
        show_json(
            {
                "verdict": word,
                "mode": named,
                "root": settings.lake_root,
                "judged_at": system_clock(),
                "symbols": [each.as_json() for each in found],
            }
        )
        raise typer.Exit(0 if word == "PASS" else 1)
    console = terminal()
    if mode:
        console.print(TEST_LABEL)
    for each in found:
        color = "red" if each.state == "FAIL" else "green"
        why = f": {'; '.join(each.reasons)}" if each.reasons else ""
        console.print(coloured(each.state, color, f" {each.table} {each.symbol}, {each.rows:,} rows{why}"))
    console.print(coloured(f"FINAL VALIDATION: {word}", "green" if word == "PASS" else "red"))
    raise typer.Exit(0 if word == "PASS" else 1)
