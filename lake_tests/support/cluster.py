"""A cluster on one box: Postgres, Redis, S3, simulator, webserver, daemon, workers with roots and egress names.

Belongs here: its processes and what an operator or an accident does to them. Does not belong here: what is asked of it
(`lake_tests.bench.cluster_demo`).
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from celery import Celery

from lake_assets.local_stack.graphql import BackfillProgress, DagsterApi
from lake_assets.local_stack.places import PROJECT, child_environment
from lake_assets.local_stack.stack import local_stack
from lake_assets.local_stack.supervision import Stack
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings
from lake_tests.support.cpu_spent import cpu_spent
from lake_tests.support.postgres import PostgresServer, postgres_server
from lake_tests.support.redis_server import RedisServer, redis_server
from lake_tests.support.s3_server import BUCKET, s3_server
from lake_tests.support.waiting import free_port, wait_until

_RUNS = """
query ($statuses: [RunStatus!], $tags: [ExecutionTag!]) {
  runsOrError(filter: {statuses: $statuses, tags: $tags}, limit: 500) {
    ... on PythonError { message }
    ... on Runs { results { id status startTime endTime tags { key value } } }
  }
}
"""
_WHY = """
query ($id: ID!) {
  logsForRun(runId: $id, limit: 1000) {
    ... on EventConnection {
      events {
        ... on ExecutionStepFailureEvent { error { message causes { message } } }
        ... on RunFailureEvent { message error { message } }
      }
    }
  }
}
"""


@dataclass(frozen=True)
class SeenRun:
    """A run as the web UI tells it; times are seconds of the epoch."""

    id: str
    status: str
    start: float | None
    end: float | None
    tags: dict[str, str]

    @property
    def task(self) -> str:
        return self.tags.get("dagster-celery/task_id", "")


@dataclass
class Cluster:
    """What runs, and the calls that a journey makes."""

    settings: LakeSettings
    postgres: PostgresServer
    redis: RedisServer
    stack: Stack
    api: DagsterApi
    celery: Celery
    most_weight: int = 0
    stops: set[tuple[str, str]] = field(default_factory=set)
    workers: list[str] = field(default_factory=list)

    def start_worker(self, name: str) -> None:
        """A worker with one place and, as on a host, a root and an egress name of its own; kept as systemd would."""
        host = self.settings.model_copy(update={"root": self.settings.lake_root.parent / name, "egress_id": name})
        own = {"POLARS_MAX_THREADS": "1"}
        command = ["celery", "-A", "lake_assets.run_worker", "worker", "-Q", "dagster", "-n", f"{name}@%h", "-c", "1"]
        self.workers.append(name)
        self.stack.keep(name, [*command, "-l", "INFO"], child_environment(host) | own)

    def tend(self) -> list[str]:
        """What a supervisor does once a second; what the weight governors hold is looked at as well."""
        self.stack.check()
        self._look_at_governors()
        return self.stack.tend()

    def _look_at_governors(self) -> None:
        spent = "SELECT max(amount) FROM governor_spent WHERE bucket = 'weight_1m'"
        with suppress(psycopg.Error), psycopg.connect(self.settings.ledger_url.replace("+psycopg", "")) as connection:
            for (amount,) in connection.execute(spent).fetchall():
                self.most_weight = max(self.most_weight, amount or 0)
            self.stops |= set(connection.execute("SELECT egress, kind FROM governor_stops").fetchall())

    def wait(self, what: str, ready: Callable[[], object], *, seconds: float = 900) -> None:
        wait_until(ready, what, seconds=seconds, every_s=0.3, meanwhile=self.tend)

    def ended(self, backfill: str) -> BackfillProgress | None:
        """How a backfill finished; None before, and while the webserver cannot tell."""
        with suppress(LakeError, httpx.HTTPError):
            found = self.api.backfill(backfill)
            return found if found.finished else None
        return None

    def runs(self, *statuses: str, backfill: str = "") -> list[SeenRun]:
        tags = [{"key": "dagster/backfill", "value": backfill}] if backfill else []
        found: list[dict[str, Any]] = []

        def told() -> bool:
            # The webserver, too, has to notice that its database went away.
            with suppress(LakeError, httpx.HTTPError):
                answer = self.api.query(_RUNS, statuses=statuses or None, tags=tags)["runsOrError"]
                found[:] = answer.get("results", [])
                return "results" in answer
            return False

        wait_until(told, "an answer of the webserver", every_s=0.3)
        return [
            SeenRun(r["id"], r["status"], r["startTime"], r["endTime"], {t["key"]: t["value"] for t in r["tags"]})
            for r in found
        ]

    def why_failed(self, run: SeenRun) -> str:
        """What the failures of a run said, in one line."""
        events = self.api.query(_WHY, id=run.id)["logsForRun"].get("events", [])
        errors = [each["error"] for each in events if each.get("error")]
        said = [error["message"] for error in errors] + [c["message"] for e in errors for c in e.get("causes") or ()]
        said += [each["message"] for each in events if each.get("message")]
        return " | ".join(" ".join(text.split())[:600] for text in said)

    def holder(self, run: SeenRun) -> str | None:
        """Name of the worker that began the run's task, as Celery noted it; None before, and after."""
        noted = self.celery.AsyncResult(run.task) if run.task else None
        if noted is None or noted.state != "STARTED":
            return None
        return str(noted.info["hostname"]).partition("@")[0]

    def halt_at(self, status: str, *backfills: str) -> tuple[str, str]:
        """Halt a worker with its children while it has a run of that status; names of the worker and the run.

        Args:
            status: of the run. What it is when it is looked at is what it stays.
            backfills: whose runs are meant.
        """
        found: list[tuple[str, str]] = []

        def halted() -> bool:
            for run in (each for backfill in backfills for each in self.runs(status, backfill=backfill)):
                worker = self.holder(run)
                if worker is None:
                    continue
                self._signal([worker], signal.SIGSTOP)
                # What it had sent before has arrived.
                time.sleep(0.2)
                if self.holder(run) == worker and any(each.id == run.id for each in self.runs(status)):
                    found.append((worker, run.id))
                    return True
                self.resume(worker)
            return False

        self.wait(f"a run that is {status}", halted)
        return found[0]

    def resume(self, worker: str) -> None:
        """Let a halted worker go on."""
        self._signal([worker], signal.SIGCONT)

    def kill_at(self, status: str, *backfills: str) -> tuple[str, str]:
        """kill -9 a worker with its children while it has a run of that status; names of the worker and the run."""
        worker, run = self.halt_at(status, *backfills)
        self._signal([worker], signal.SIGKILL)
        return worker, run

    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU that workers, Postgres, Redis, Dagster, and the exchange with S3 have spent so far."""
        parts = {name: process.pid for name, process in self.stack.processes.items()}
        servers = {"Postgres": self.postgres.pid, "Redis": self.redis.pid, "exchange and S3": os.getpid()}
        spent = cpu_spent(parts | servers)
        found = dict.fromkeys(("workers", *servers, "Dagster"), 0.0)
        for name, seconds in spent.items():
            other = "exchange and S3" if name == "simulator" else "Dagster"
            found["workers" if name in self.workers else name if name in found else other] += seconds
        return found

    def restart_workers(self) -> None:
        """As after a change of the code: what they had loaded is gone."""
        self._signal(self.workers, signal.SIGKILL)
        self.wait("workers to end", lambda: not self.celery.control.ping(timeout=0.5))
        self.wait("all workers", lambda: len(self.celery.control.ping(timeout=1)) == len(self.workers))

    def _signal(self, workers: Sequence[str], number: int) -> None:
        for name in workers:
            with suppress(ProcessLookupError):
                os.killpg(self.stack.processes[name].pid, number)


@contextmanager
def cluster(
    root: Path, symbols: Sequence[str], workers: Sequence[str], *, places: int, hours_per_run: int, start_timeout_s: int
) -> Iterator[Cluster]:
    """A running cluster with these workers; skips, saying so, where Postgres or Redis is not to be had.

    Args:
        root: an empty directory; the lake lies in it, and each worker's scratch directory.
        symbols: of the lake.
        workers: names of those that are there from the start.
        places: of all workers, those too that are started later.
        hours_per_run: several runs a day, so that all workers have something.
        start_timeout_s: so long a run may be starting, while the rows of its plan are written too; the
            template has 180 s.
    """
    with ExitStack() as held:
        postgres = held.enter_context(postgres_server(max_connections=150))
        queue = held.enter_context(redis_server())
        environment = held.enter_context(pytest.MonkeyPatch.context())
        for name, value in held.enter_context(s3_server()).items():
            environment.setenv(name, value)
        for database in ("ledger", "dagster"):
            postgres.sql(f"CREATE DATABASE {database}")
        settings = LakeSettings(
            root=root / "lake",
            exchange="simulator",
            symbols=tuple(symbols),
            spot_symbols=(),
            macro_tickers=(),
            simulator_port=free_port(),
            webserver_port=free_port(),
            ledger_url=postgres.url("ledger"),
            store_url=f"s3://{BUCKET}/cluster",
            # One writer on one host.
            feed_duckdb=root / "lake" / "feed.duckdb",
            feed_persist_dir=root / "lake" / "feed",
            dagster_url=postgres.url("dagster").replace("+psycopg", ""),
            broker_url=queue.url,
            egress_id="daemon",
            automation=False,
            collector=False,
            hot_builder=False,
            hours_per_run=hours_per_run,
        )
        home = settings.lake_root / "dagster_home"
        home.mkdir(parents=True)
        values = {
            "start_timeout_seconds": start_timeout_s,
            "poll_interval_seconds": 5,
            # As many wait in Redis as are at work: on a slow machine, too, none waits there for long.
            "max_concurrent_runs": 2 * places,
            # One run may be hit by each accident, and by a slow machine besides.
            "max_retries": 12,
        }
        (home / "dagster.yaml").write_text(_adapted((PROJECT / "dagster_home" / "cluster.yaml").read_text(), values))
        with (
            local_stack(settings, say=lambda _line: None) as stack,
            closing(DagsterApi(stack.address)) as api,
            closing(Celery(broker=queue.url, backend=queue.url)) as celery,
        ):
            running = Cluster(settings, postgres, queue, stack, api, celery)
            for name in workers:
                running.start_worker(name)
            yield running


def _adapted(template: str, values: dict[str, int]) -> str:
    for name, value in values.items():
        template, found = re.subn(rf"(?m)^( +{name}:) \d+$", rf"\g<1> {value}", template)
        assert found == 1, name
    return template
