"""The commands of `lake`: name, what it is for, where it lives, one line of help.

Belongs here: one line per command; the order here is the order in `lake --help` and docs/cli.md.
Does not belong here: importing any of them. That is what keeps `lake --help` and small commands quick: the module of
a command is imported when that command is called.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CommandLine:
    """One command of `lake`.

    Attributes:
        name: what is typed after `lake`.
        group: what it is for; a panel of the help.
        module: in `lake_assets.cli`, with a Typer application `app` that holds the command under this name.
        summary: the first sentence of its help, as in its docstring.
    """

    name: str
    group: str
    module: str
    summary: str


_BY_GROUP: dict[str, tuple[tuple[str, str, str], ...]] = {
    "Run it": (
        ("up", "commands_stack", "Start webserver, daemon, live collector and simulator; stay until Ctrl+C."),
        ("demo", "commands_demo", "Backfill two days on the simulator and print what was written."),
        ("init-state", "commands_init", "Create the lake's directory and ledger; what is there is left alone."),
        ("run-once", "commands_run", "Build the hours from the watermark to now, once, without Dagster."),
        ("run-daemon", "commands_run", "Do what `run-once` does, again and again until Ctrl+C."),
        ("worker", "commands_worker", "Execute runs of a lake whose runs Celery workers execute, until Ctrl+C."),
        ("keep-hot", "commands_hot", "Keep the hot band seconds behind the exchange until Ctrl+C."),
    ),
    "Look at it": (
        ("show", "commands_show", "List the hours and archives of a day, with sources and check results."),
        ("show-watermark", "commands_show", "Print up to which minute each symbol is accounted for."),
        ("missing", "commands_show", "List sources that were asked for and had nothing, still open."),
    ),
    "Load history": (
        ("backfill-years", "commands_backfill", "Load what is missing or wrong of the last years, in Dagster."),
        ("backfill-range", "commands_backfill", "Load what is missing or wrong of a range, in Dagster."),
        ("backfill-klines", "commands_klines", "Load spot klines of the last days, in Dagster."),
        (
            "slices",
            "commands_slices",
            "Keep raw answers of the exchange complete; check, pack or import them.",
        ),
    ),
    "Judge it": (
        ("audit", "commands_audit", "Compare files, ledger and Dagster for every hour of a range."),
        ("holes", "commands_holes", "List every hole of a table, explained and unexplained."),
        (
            "judge",
            "commands_judge",
            "Judge hours that were committed without a verdict, from what the lake holds; nothing is rebuilt.",
        ),
        ("parity", "commands_parity", "Compare stored hours with the exchange's klines of now, or list what is left."),
        ("validate-rules", "commands_rules", "Check bars against R1 to R7 and say PASS, INVESTIGATE or FAIL."),
        ("validate-final", "commands_final", "Judge every table and symbol of a root: PASS or FAIL; no data is FAIL."),
    ),
    "Repair it": (
        ("declare-hole", "commands_declare", "Excuse minutes that the exchange itself does not have."),
        (
            "rebuild-ledger",
            "commands_rebuild_ledger",
            "Make a lost or damaged ledger anew from the files of the lake; no data file is touched.",
        ),
        ("rebuild-live", "commands_rebuild", "Fold live rows anew from the raw records on disk."),
    ),
    "Hand it out": (
        ("export", "commands_export", "Write minutes or longer bars of a range as files with certificates."),
        ("slice", "commands_export", "Write minutes or longer bars of a range as files with certificates."),
        ("materialize-duckdb", "commands_duckdb", "Write a DuckDB file with a view over all committed hours."),
        (
            "catalog",
            "commands_catalog",
            "Write the list of a table's committed files as Parquet, for Trino, ClickHouse, Spark and others.",
        ),
        ("research-views", "commands_research", "Write the DuckDB file with the research views over all tables anew."),
        ("feed-1h", "commands_feed", "Append the newest closed hour to the 1H table, write its files."),
    ),
    "Live data": (
        ("collect", "commands_collect", "Collect the live streams of all symbols until Ctrl+C."),
        ("live", "commands_live", "List the collector's connections, its silence, and lost trades."),
        ("raw-export", "commands_raw", "Write what was heard of spot symbols as JSON lines."),
        ("raw-import", "commands_raw", "Put raw JSON lines of spot into the lake, each file once."),
    ),
    "Operations": (
        ("health", "commands_health", "Look once whether daemon, sensors, data and collector are well."),
        ("config", "commands_config", "Print each setting with where its value came from; secrets are not shown."),
        ("backup", "commands_backup", "Copy the lake to a directory, consistently, also while `lake up` runs."),
        ("restore", "commands_backup", "Make the lake of LAKE_ROOT from a backup; the root must not be there."),
        (
            "report-to-dagster",
            "commands_history",
            "Tell a lost or wiped Dagster history what the ledger holds; nothing is built.",
        ),
        ("doctor", "commands_doctor", "Look at versions, disk, schemas, exchange, Dagster and collector."),
        ("compact", "commands_compact", "Make one file of each closed day and month; readers do not notice."),
        (
            "collect-garbage",
            "commands_garbage",
            "List files that no row of the ledger names, of all tables; --remove takes them away after the grace.",
        ),
        (
            "workspace",
            "commands_workspace",
            "Write a `workspace.yaml` of shards, a code location for each part of the symbols.",
        ),
        ("inspect-metrics-columns", "commands_metrics", "Compare the columns of a metrics archive with those read."),
    ),
}
COMMANDS = {
    name: CommandLine(name, group, module, summary)
    for group, rows in _BY_GROUP.items()
    for name, module, summary in rows
}
