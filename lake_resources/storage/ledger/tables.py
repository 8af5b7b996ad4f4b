"""The ledger's tables.

Belongs here: every table and column, and how a time is stored. Does not belong here: statements.
Times are text, `YYYY-MM-DDTHH:MM:SS.ffffffZ` in UTC: one width, so text order is time order, and readable in any SQL
shell. Paths are relative to the lake's root. Lists and provenance are canonical JSON text. What is about a table of the
lake carries its name, what is about the streams of a market carries the market's.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from lake_resources.storage.catalog import utc


class UtcText(sa.types.TypeDecorator[datetime]):
    """A timezone-aware UTC datetime as text of one width."""

    impl = sa.String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        """Text of an instant."""
        return None if value is None else utc_text(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Instant of a text."""
        return None if value is None else instant_of(value)


def utc_text(instant: datetime) -> str:
    """The ledger's text of an instant."""
    return utc(instant).isoformat(timespec="microseconds")[:26] + "Z"


def instant_of(text: str) -> datetime:
    """The inverse of `utc_text`."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is UTC else found.astimezone(UTC)


METADATA = sa.MetaData()

LEDGER_VERSION = 2
"""Of these tables: raised by hand when code of before could misread them. New tables alone do not raise it.

1 knew one table of one market; 2 has the table, or the market, in each key.
"""
VERSION = sa.Table("ledger_version", METADATA, sa.Column("version", sa.Integer, primary_key=True))

IDENTITY = sa.Table(
    "identity",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
"""What the lake is, whatever its tables: `exchange` is the one whose data it holds."""

WATERMARK = sa.Table(
    "watermark",
    METADATA,
    sa.Column("table_name", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("last_complete_utc", UtcText, nullable=False),
    sa.Column("updated_at_utc", UtcText, nullable=False),
)


def _partition_columns(status: str) -> list[sa.Column[object] | sa.CheckConstraint]:
    columns: list[sa.Column[object]] = [
        sa.Column("table_name", sa.String, primary_key=True),
        sa.Column("symbol", sa.String, primary_key=True),
        sa.Column("start_utc", UtcText, primary_key=True),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("row_count", sa.Integer, nullable=False),
        sa.Column("expected_rows", sa.Integer, nullable=False),
        sa.Column("min_ts", UtcText),
        sa.Column("max_ts", UtcText),
        sa.Column("schema_hash", sa.String, nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("inputs_hash", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("sources", sa.Text, nullable=False),
        sa.Column("code_version", sa.String, nullable=False),
        sa.Column("checks", sa.Text, nullable=False),
        sa.Column("committed_at_utc", UtcText, nullable=False),
        sa.Column("verdict", sa.String),
        sa.Column("verdict_detail", sa.Text),
    ]
    return [*columns, sa.CheckConstraint(f"status = '{status}'")]


# What readers see: one row per partition whose file is the committed one.
PARTITIONS = sa.Table("partitions", METADATA, *_partition_columns("COMMITTED"))

# What a writer is about to publish. Kept apart, so that the committed row stays what it was until the commit.
INTENTS = sa.Table(
    "intents", METADATA, *_partition_columns("STAGED"), sa.Column("temp_path", sa.String, nullable=False)
)

# Files that hold many partitions. Which are read from one, and which it holds, are bitmaps in hexadecimal: bit n is
# the n-th partition from its start. So a reader of years looks at a row per month, not at a row per partition.
COMPACTED_FILES = sa.Table(
    "compacted_files",
    METADATA,
    sa.Column("table_name", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("tier", sa.String, nullable=False),
    sa.Column("start_utc", UtcText, nullable=False),
    sa.Column("end_utc", UtcText, nullable=False),
    sa.Column("serves", sa.Text, nullable=False),
    sa.Column("holds", sa.Text, nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("rows_hash", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("schema_hash", sa.String, nullable=False),
    sa.Column("compacted_at_utc", UtcText, nullable=False),
    sa.Column("superseded_at_utc", UtcText),
    sa.Column("cleared_at_utc", UtcText),
    sa.Index("compacted_files_start", "table_name", "symbol", "start_utc"),
    sa.CheckConstraint("tier IN ('day', 'month')"),
)

QUARANTINE = sa.Table(
    "quarantine",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("table_name", sa.String, nullable=False),
    sa.Column("symbol", sa.String, nullable=False),
    sa.Column("start_utc", UtcText, nullable=False),
    sa.Column("path", sa.String),
    sa.Column("codes", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("accounted_until_utc", UtcText, nullable=False),
    sa.Column("quarantined_at_utc", UtcText, nullable=False),
    sa.Column("resolved_at_utc", UtcText),
    sa.Index("quarantine_start", "table_name", "symbol", "start_utc"),
)

REVISIONS = sa.Table(
    "revisions",
    METADATA,
    sa.Column("table_name", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("timestamp", UtcText, primary_key=True),
    sa.Column("column", sa.String, primary_key=True),
    sa.Column("old_source", sa.String, primary_key=True),
    sa.Column("new_source", sa.String, primary_key=True),
    sa.Column("old_value", sa.Double),
    sa.Column("new_value", sa.Double),
    sa.Column("noticed_at_utc", UtcText, nullable=False),
    sa.Index("revisions_timestamp", "table_name", "symbol", "timestamp"),
)

API_PARITY = sa.Table(
    "api_parity",
    METADATA,
    sa.Column("table_name", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("start_utc", UtcText, primary_key=True),
    sa.Column("compared", sa.Integer, nullable=False),
    sa.Column("differing", sa.Integer, nullable=False),
    sa.Column("only_lake", sa.Integer, nullable=False),
    sa.Column("only_exchange", sa.Integer, nullable=False),
    sa.Column("first", sa.Text),
    sa.Column("compared_at_utc", UtcText, nullable=False),
)


def _only_one_current(name: str, *key: str) -> sa.Index:
    """What makes a second current vintage of a raw input impossible, whoever writes."""
    current = sa.text("is_current")
    return sa.Index(name, *key, unique=True, sqlite_where=current, postgresql_where=current)


ARCHIVES = sa.Table(
    "archives",
    METADATA,
    sa.Column("market", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("period", sa.String(10), primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("url", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("min_ts", UtcText),
    sa.Column("max_ts", UtcText),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("checksum_verdict", sa.String, nullable=False),
    sa.Column("fetched_at_utc", UtcText, nullable=False),
    sa.Column("is_current", sa.Boolean, nullable=False),
    _only_one_current("archives_one_current", "market", "symbol", "stream", "period"),
)

CAPTURES = sa.Table(
    "captures",
    METADATA,
    sa.Column("market", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("hour", UtcText, primary_key=True),
    sa.Column("content_hash", sa.String(64), primary_key=True),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("window_start", UtcText, nullable=False),
    sa.Column("window_end", UtcText, nullable=False),
    sa.Column("complete", sa.Boolean, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("captured_at_utc", UtcText, nullable=False),
    sa.Column("is_current", sa.Boolean, nullable=False),
    sa.Index("captures_captured_at", "market", "captured_at_utc"),
    _only_one_current("captures_one_current", "market", "symbol", "stream", "hour"),
)

MISSING_SOURCES = sa.Table(
    "missing_sources",
    METADATA,
    sa.Column("market", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("period", sa.String, primary_key=True),
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("first_seen_utc", UtcText, nullable=False),
    sa.Column("last_seen_utc", UtcText, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("resolved_at_utc", UtcText),
)

LISTINGS = sa.Table(
    "listings",
    METADATA,
    sa.Column("market", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("first_utc", UtcText),
    sa.Column("end_utc", UtcText),
    sa.Column("said_at_utc", UtcText, nullable=False),
)

KNOWN_HOLES = sa.Table(
    "known_holes",
    METADATA,
    sa.Column("market", sa.String, primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("start_utc", UtcText, primary_key=True),
    sa.Column("end_utc", UtcText, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
)

# What the collector of a market notes of itself.
CONNECTIONS = sa.Table(
    "collector_connections",
    METADATA,
    sa.Column("market", sa.String, primary_key=True),
    sa.Column("conn", sa.BigInteger, primary_key=True),
    sa.Column("route", sa.String, nullable=False),
    sa.Column("opened_at_utc", UtcText, nullable=False),
    sa.Column("last_frame_at_utc", UtcText),
    sa.Column("closed_at_utc", UtcText),
    sa.Column("reason", sa.String),
    sa.Column("frames", sa.BigInteger, nullable=False),
    sa.Column("silent_streams", sa.String, nullable=False),
)
TRADE_GAPS = sa.Table(
    "collector_trade_gaps",
    METADATA,
    sa.Column("market", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("first_id", sa.BigInteger, primary_key=True),
    sa.Column("last_id", sa.BigInteger, primary_key=True),
    sa.Column("found_at_utc", UtcText, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("settled_at_utc", UtcText),
    sa.Column("detail", sa.String, nullable=False),
)
KNOWN_IDS = sa.Table(
    "collector_known_ids",
    METADATA,
    sa.Column("market", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("last_id", sa.BigInteger, nullable=False),
    sa.Column("minute", sa.BigInteger, nullable=False),
)

SLICES = sa.Table(
    "slices",
    METADATA,
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("interval", sa.String, primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True),
    sa.Column("record_limit", sa.Integer, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("path", sa.String),
    sa.Column("sha256", sa.String(64)),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("http_status", sa.Integer),
    sa.Column("n_items", sa.Integer, nullable=False),
    sa.Column("first_ts", sa.BigInteger),
    sa.Column("last_ts", sa.BigInteger),
    sa.Column("requested_url", sa.String),
    sa.Column("requested_at_utc", UtcText),
    sa.Column("completed_at_utc", UtcText),
    sa.Column("error", sa.Text),
    sa.Column("fetches", sa.Integer, nullable=False),
    sa.Column("missing", sa.Text, nullable=False),
    sa.Column("lacking_since_utc", UtcText),
)

ORIGINS = sa.Table(
    "slice_origins",
    METADATA,
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("interval", sa.String, primary_key=True),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("said_at_utc", UtcText, nullable=False),
)

OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("at_utc", UtcText, nullable=False),
)
