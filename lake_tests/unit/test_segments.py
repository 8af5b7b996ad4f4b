"""Raw records on disk: order, rotation, what a kill leaves, retention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_resources.binance.ws.frames import CONNECTION, DEPTH, EVERY_SYMBOL, Frame
from lake_resources.collector.segment_format import FILE_HEADER_BYTES, inspect
from lake_resources.collector.segments import SegmentWriter, newest_minute, prune, read_records, recover
from lake_tests.support.forgotten_writer import forget

MINUTE = 29_000_000
NOON = datetime.fromtimestamp(MINUTE * 60, UTC)


def frame(seq: int, symbol: str = "BTCUSDT", minute: int = MINUTE, payload: bytes = b"{}") -> Frame:
    kind = CONNECTION if symbol == EVERY_SYMBOL else DEPTH
    return Frame(seq, 1_000 * seq - 7, 1 << 50, kind, symbol, minute, payload)


def write(writer: SegmentWriter, frames: Iterable[Frame]) -> None:
    for one in frames:
        writer.add(one.seq, one.received_ns, one.conn, one.kind, one.symbol, one.minute, one.payload)
    buffers, _ = writer.take()
    writer.write(buffers, 0)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SegmentWriter]:
    one = SegmentWriter(tmp_path)
    yield one
    forget(one)


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.seg*"))


def test_records_come_back_in_order_whatever_their_minute(tmp_path: Path, writer: SegmentWriter) -> None:
    minutes = [MINUTE, MINUTE + 1, MINUTE, MINUTE + 2, MINUTE - 1, MINUTE + 1]
    frames = [frame(seq, minute=minute, payload=b"x" * seq) for seq, minute in enumerate(minutes, start=1)]
    write(writer, frames[:3])
    write(writer, [*frames[3:], frame(9, "ETHUSDT")])

    assert list(read_records(tmp_path, "BTCUSDT", MINUTE - 1, MINUTE + 3)) == frames
    assert list(read_records(tmp_path, "BTCUSDT", MINUTE, MINUTE + 1)) == [frames[0], frames[2]]
    assert [one.symbol for one in read_records(tmp_path, "ETHUSDT", MINUTE, MINUTE + 1)] == ["ETHUSDT"]
    assert len(list(read_records(tmp_path, None, MINUTE - 1, MINUTE + 3))) == 7


def test_what_concerns_all_symbols_comes_with_each(tmp_path: Path, writer: SegmentWriter) -> None:
    write(writer, [frame(1), frame(2, EVERY_SYMBOL), frame(3, "ETHUSDT"), frame(4)])

    assert [one.seq for one in read_records(tmp_path, "BTCUSDT", MINUTE, MINUTE + 1)] == [1, 2, 4]
    assert [one.seq for one in read_records(tmp_path, "ETHUSDT", MINUTE, MINUTE + 1)] == [2, 3]


def test_a_minute_is_closed_by_a_rename_and_late_records_get_a_further_file(
    tmp_path: Path, writer: SegmentWriter
) -> None:
    write(writer, [frame(1), frame(2, minute=MINUTE + 1)])
    day = f"date={NOON:%Y-%m-%d}/hour={NOON:%H}"
    assert names(tmp_path) == [f"{day}/{NOON:%M}-{0:020d}.seg.open", f"{day}/{NOON.minute + 1:02d}-{0:020d}.seg.open"]

    assert writer.close_before(MINUTE + 1) == 1
    writer.add(3, 0, 1, DEPTH, "BTCUSDT", MINUTE, b"late")
    writer.write(writer.take()[0], 3)
    assert writer.close_before(None) == 2

    assert names(tmp_path) == [
        f"{day}/{NOON:%M}-{0:020d}.seg", f"{day}/{NOON:%M}-{3:020d}.seg", f"{day}/{NOON.minute + 1:02d}-{0:020d}.seg",
    ]  # fmt: skip
    assert [one.seq for one in read_records(tmp_path, "BTCUSDT", MINUTE, MINUTE + 2)] == [1, 2, 3]
    assert newest_minute(tmp_path) == MINUTE + 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), flip=st.booleans(), sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_a_torn_tail_loses_only_the_tail(
    tmp_path_factory: pytest.TempPathFactory, cut: float, flip: bool, sizes: list[int]
) -> None:
    root = tmp_path_factory.mktemp("torn")
    writer = SegmentWriter(root)
    ends = []
    frames = [frame(seq, payload=bytes([seq]) * size) for seq, size in enumerate(sizes)]
    for one in frames:
        write(writer, [one])
        ends.append(next(root.rglob("*.open")).stat().st_size)
    forget(writer)
    path = next(root.rglob("*.open"))
    data = bytearray(path.read_bytes())
    at = min(int(cut * len(data)), len(data) - 1)
    if flip and at >= FILE_HEADER_BYTES:
        data[at] ^= 0x55
        path.write_bytes(data)
    else:
        path.write_bytes(data[:at])
    whole = [one for one, end in zip(frames, ends, strict=True) if end <= at]

    assert list(read_records(root, "BTCUSDT", MINUTE, MINUTE + 1)) == whole
    lost = recover(root).lost_bytes
    assert list(read_records(root, "BTCUSDT", MINUTE, MINUTE + 1)) == whole
    left = list(root.rglob("*.seg*"))
    assert [one.name.endswith(".seg") for one in left] == [True] * bool(whole)
    assert all(inspect(one.read_bytes()).lost_bytes == 0 for one in left)
    assert lost == (len(data) if flip and at >= FILE_HEADER_BYTES else at) - (
        inspect(left[0].read_bytes()).good_bytes if left else (FILE_HEADER_BYTES if at >= FILE_HEADER_BYTES else 0)
    )


def test_retention_by_age_then_by_size_oldest_first_and_never_the_open_one(
    tmp_path: Path, writer: SegmentWriter
) -> None:
    for age_min in (300, 200, 120, 60, 0):
        write(writer, [frame(1, minute=MINUTE - age_min, payload=b"x" * 1_000)])
    writer.close_before(MINUTE)
    size = next(tmp_path.rglob("*.seg")).stat().st_size

    assert prune(tmp_path, NOON, timedelta(minutes=250), 1 << 30).files == 1
    removed = prune(tmp_path, NOON, timedelta(minutes=250), 2 * size)

    assert (removed.files, removed.size_bytes) == (1, size)
    assert sorted(path.suffix for path in tmp_path.rglob("*.seg*")) == [".open", ".seg", ".seg"]
    assert prune(tmp_path, NOON + timedelta(days=9), timedelta(minutes=1), 1 << 30).files == 2
    assert len(list(tmp_path.rglob("hour=*"))) == 1, "empty directories go, too"
