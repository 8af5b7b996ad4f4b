"""The local order book by Binance's procedure for futures."""

from __future__ import annotations

from lake_resources.binance.ws.order_book import MAX_BUFFERED_LEVELS, DepthSync, OrderBook
from lake_tests.support.live_frames import START_MS, depth, snapshot

Diff = dict[str, object]


def diff(first: int, last: int, previous: int) -> Diff:
    return depth(first, last, previous, START_MS)


def synced() -> DepthSync:
    sync = DepthSync()
    sync.diff(1, diff(5, 10, 4))
    sync.snapshot(7)
    return sync


def test_one_snapshot_is_asked_for_after_the_first_diff_and_not_again() -> None:
    sync = DepthSync()
    assert sync.snapshots_wanted == 0

    for first in range(0, 500, 5):
        sync.diff(1, diff(first, first + 4, first - 1))

    assert sync.snapshots_wanted == 1
    assert sync.state == "collecting"


def test_older_diffs_are_dropped_and_the_bridging_one_is_not_checked_by_its_pu() -> None:
    sync = DepthSync()
    for first in (0, 5, 10, 15):
        sync.diff(1, diff(first, first + 4, first - 1))

    applied = sync.snapshot(12)

    assert applied is not None
    assert [found["u"] for found in applied] == [14, 19]
    assert (sync.state, sync.last_id, sync.snapshots_wanted) == ("synced", 19, 1)


def test_a_snapshot_older_than_the_first_diff_is_asked_for_again() -> None:
    sync = DepthSync()
    sync.diff(1, diff(100, 104, 99))

    assert sync.snapshot(50) is None
    assert sync.snapshots_wanted == 2
    assert sync.snapshot(102) is not None
    assert sync.state == "synced"


def test_a_snapshot_newer_than_all_diffs_waits_for_the_one_that_covers_it() -> None:
    sync = DepthSync()
    sync.diff(1, diff(0, 4, -1))

    assert sync.snapshot(12) == []
    assert sync.state == "bridging"
    assert not sync.diff(1, diff(5, 9, 4))
    assert sync.diff(1, diff(10, 14, 9))
    assert sync.state == "synced"
    assert sync.snapshots_wanted == 1


def test_a_jump_starts_again_with_one_snapshot() -> None:
    sync = synced()

    assert not sync.diff(1, diff(20, 25, 19))
    assert not sync.diff(1, diff(26, 30, 25))

    assert (sync.state, sync.breaks, sync.snapshots_wanted) == ("collecting", 1, 2)
    assert sync.snapshot(22) is not None
    assert (sync.state, sync.last_id) == ("synced", 30)


def test_a_repeated_diff_is_left_out() -> None:
    sync = synced()

    assert not sync.diff(1, diff(5, 10, 4))
    assert (sync.state, sync.repeated, sync.breaks) == ("synced", 1, 0)


def test_a_jump_within_the_waiting_diffs_starts_again_from_it() -> None:
    sync = DepthSync()
    for parts in ((0, 4, -1), (5, 9, 4), (15, 19, 14)):
        sync.diff(1, diff(*parts))

    assert sync.snapshot(3) is None
    assert (sync.state, sync.snapshots_wanted) == ("collecting", 2)
    assert sync.snapshot(17) is not None
    assert sync.last_id == 19


def test_a_second_connection_may_continue_but_not_break() -> None:
    sync = synced()

    assert not sync.diff(2, diff(30, 35, 29)), "cut differently, and the first connection is still there"
    assert sync.state == "synced"
    assert sync.diff(2, diff(11, 15, 10)), "the same cut, and earlier"
    assert not sync.diff(1, diff(11, 15, 10))
    assert sync.diff(1, diff(16, 20, 15))
    sync.closed(1)
    assert sync.diff(2, diff(21, 25, 20))
    assert (sync.breaks, sync.conn) == (0, 2)


def test_levels_are_absolute_and_zero_removes() -> None:
    book = OrderBook()
    book.diff(1, depth(5, 10, 4, START_MS))
    book.snapshot(snapshot(7, START_MS, [["99", "1"], ["98", "1"]], [["101", "1"], ["102.50", "1"]]))
    book.diff(1, depth(11, 12, 10, START_MS, bids=(("99.0", "0"), ("97", "0")), asks=(("101", "4"), ("102.5", "0"))))

    assert book.bids == {98.0: 1.0}
    assert book.asks == {101.0: 4.0}
    assert book.best() == (98.0, 101.0)


def test_another_book_goes_on_from_the_state_of_one() -> None:
    book = OrderBook()
    book.diff(1, depth(5, 10, 4, START_MS))
    waiting = OrderBook.from_state(book.state())
    book.snapshot(snapshot(7, START_MS, [["99", "1"]], [["101", "1"]]))
    waiting.snapshot(snapshot(7, START_MS, [["99", "1"]], [["101", "1"]]))
    further = OrderBook.from_state(book.state())

    for one in (book, waiting, further):
        assert one.diff(1, depth(11, 12, 10, START_MS, bids=(("99.5", "2"),)))
        assert one.state() == book.state()


def test_diffs_that_wait_and_levels_of_a_side_are_bounded_and_the_book_starts_again() -> None:
    def wide(number: int, count: int) -> Diff:
        levels = [[f"{number * count + n}.5", "1"] for n in range(count)]
        return {**diff(number, number, number - 1), "b": levels, "a": []}

    waiting = DepthSync()
    for number in range(1, 9):
        waiting.diff(1, wide(number, 60_000))
    assert sum(len(found["b"]) for found in waiting.buffer) <= MAX_BUFFERED_LEVELS
    assert waiting.buffer[-1]["u"] == 8
    assert waiting.snapshot(8) is not None, "the newest are there, and a snapshot bridges"

    book = OrderBook()
    book.diff(1, diff(1, 1, 0))
    book.sync.state, book.sync.last_id = "synced", 1
    taken = [book.diff(1, wide(number, 60_000)) for number in range(2, 6)]
    assert taken == [True, True, True, False]
    assert (book.bids, book.synced, book.sync.breaks) == ({}, False, 1)
    assert not book.diff(1, diff(6, 6, 5))
    assert book.sync.snapshots_wanted >= 1
