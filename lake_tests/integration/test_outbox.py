"""Messages to people outlive a receiver that is down, in order and each once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake_assets.automation.health import Health
from lake_assets.watchdog.telling import Teller
from lake_resources.errors import PartitionBusy
from lake_resources.messages import outbox as module
from lake_resources.messages.alerts import Alert
from lake_resources.messages.outbox import Outbox, open_outbox
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger import engine as ledger_engine
from lake_resources.storage.locks import writer_lock
from lake_tests.support.receiver import Receiver, receiver
from lake_tests.support.waiting import free_port

NOW = datetime(2026, 11, 18, 15, 30, tzinfo=UTC)


def alert(subject: str) -> Alert:
    return Alert("run_failed", subject, "the story", NOW)


def subjects(found: Receiver) -> list[str]:
    return [body["subject"] for body in found.bodies]


def at(root: Path, url: str) -> Outbox:
    return open_outbox(LakeSettings(root=root, webhook_url=url))


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def outbox(tmp_path: Path, hook: Receiver) -> Iterator[Outbox]:
    found = at(tmp_path, hook.url)
    yield found
    found.close()


@pytest.fixture
def hurried(tmp_path: Path, hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    """An outbox that waits for a locked ledger no longer than a test should."""
    monkeypatch.setattr(ledger_engine, "BUSY_TIMEOUT_MS", 50)
    found = at(tmp_path, hook.url)
    yield found
    found.close()


@contextmanager
def locked(outbox: Outbox, root: Path) -> Iterator[None]:
    """The ledger as another process keeps it."""
    assert outbox.waiting() == []
    outbox.close()
    other = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE").close()
    other.execute("BEGIN EXCLUSIVE").close()
    yield
    other.close()


def test_a_message_is_delivered_at_once_and_not_kept(outbox: Outbox, hook: Receiver) -> None:
    assert outbox.post(alert("a"), alert("b")) == ""
    assert subjects(hook) == ["a", "b"]
    assert outbox.waiting() == []
    assert outbox.deliver() == ""
    assert subjects(hook) == ["a", "b"]


def test_what_a_receiver_missed_comes_in_order_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    outbox = at(tmp_path, f"http://127.0.0.1:{port}/")
    assert "did not answer" in outbox.post(alert("a"))
    outbox.close()
    outbox = at(tmp_path, f"http://127.0.0.1:{port}/")
    assert "did not answer" in outbox.post(alert("b"))
    with receiver(port) as back:
        back.status = 503
        assert outbox.deliver() == "the webhook answered 503"
        assert len(back.refused) == 1, "the others wait for the first"
        back.status = 200
        assert outbox.post(alert("c")) == ""
    assert subjects(back) == ["a", "b", "c"]
    assert [body["ts_utc"] for body in back.bodies] == ["2026-11-18T15:30:00Z"] * 3
    outbox.close()


def test_a_message_that_is_refused_for_good_keeps_no_other_back(outbox: Outbox, hook: Receiver) -> None:
    hook.status = 413
    assert outbox.post(alert("too long")) == "the webhook answered 413"
    hook.status = 404
    assert outbox.post(alert("a")) == "the webhook answered 404"
    hook.status = 200
    assert outbox.deliver() == ""
    assert subjects(hook) == ["a"]


def test_only_the_newest_are_kept(outbox: Outbox, hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    hook.status = 503
    for number in range(5):
        outbox.post(alert(str(number)))
    hook.status = 200
    outbox.deliver()
    assert subjects(hook) == ["2", "3", "4"]


def test_one_process_delivers_at_a_time(outbox: Outbox, hook: Receiver, tmp_path: Path) -> None:
    with writer_lock(tmp_path / ".locks" / "outbox.lock"):
        assert outbox.post(alert("a")) == ""
    assert hook.bodies == []
    assert outbox.deliver() == ""
    assert subjects(hook) == ["a"]


def test_without_an_address_nothing_is_kept(tmp_path: Path) -> None:
    outbox = at(tmp_path, "")
    assert outbox.post(alert("a")) == ""
    assert not (tmp_path / "ledger.sqlite").exists()


def test_a_locked_ledger_is_no_reason_for_silence(hurried: Outbox, hook: Receiver, tmp_path: Path) -> None:
    with locked(hurried, tmp_path):
        assert hurried.post(alert("a")) == ""
        assert subjects(hook) == ["a"]
        hook.status = 503
        with pytest.raises(PartitionBusy, match="locked"):
            hurried.post(alert("b"))


def test_the_watchdog_tells_what_happened_while_the_receiver_was_down(outbox: Outbox, hook: Receiver) -> None:
    lines: list[str] = []
    teller = Teller(outbox, lines.append)
    hook.status = 503
    ill = Health("ERROR", ("BTCUSDT is 9 min behind",), NOW)
    for minute in range(3):
        teller.tell(Health("ERROR", ill.problems, NOW + timedelta(minutes=minute)))
    teller.tell(Health("HEALTHY", (), NOW + timedelta(minutes=3)))
    hook.status = 200
    teller.tell(Health("HEALTHY", (), NOW + timedelta(minutes=4)))
    told = [(body["kind"], body["ts_utc"][11:16]) for body in hook.bodies]
    assert told == [("unhealthy", "15:30"), ("healthy_again", "15:33")]
    assert lines.count("the webhook answered 503") == 1


def test_the_watchdog_tries_again_what_it_could_neither_keep_nor_deliver(
    hurried: Outbox, hook: Receiver, tmp_path: Path
) -> None:
    lines: list[str] = []
    teller = Teller(hurried, lines.append)
    ill = Health("ERROR", ("the watchdog could not read the ledger: locked",), NOW)
    with locked(hurried, tmp_path):
        hook.status = 503
        teller.tell(ill)
        assert "people could not be told" in lines[-1]
        hook.status = 200
        teller.tell(ill)
        teller.tell(ill)
    assert [body["kind"] for body in hook.bodies] == ["unhealthy"]
