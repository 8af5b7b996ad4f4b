"""A simulation of a cluster: it has to reproduce what was measured on one box, then says what 50 workers would do.

Belongs here: runs, workers, the database, the line and lost workers, as far as they decide how long a backfill takes.
Does not belong here: measuring anything. Run as `python -m lake_tests.bench.cluster_model`; exits 1 when a measured
point is not reproduced. Nothing of it was measured on more than one box: it is arithmetic with queues.

Time goes in steps. In each, the runs of a worker share its cores, all runs share the database's cores and the line, and
each uses as much of every one as it still needs and gets. Chance is seeded: the same numbers come out each time.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass, field, replace

STEP_S = 0.25
_DAYS, _SYMBOLS = 6 * 8766 // 24, 600


@dataclass(frozen=True)
class Work:
    """What one run needs.

    Attributes:
        start_cpu_s: CPU until it works: a process that loads its code location.
        cpu_s: CPU of the work itself.
        idle_s: seconds that it waits for something else.
        database_s: CPU of the database for its rows and events.
        megabytes: what it downloads.
    """

    start_cpu_s: float
    cpu_s: float
    idle_s: float = 0.0
    database_s: float = 0.0
    megabytes: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """What runs run on.

    Attributes:
        workers: processes that take runs, each on a machine of its own unless `one_box`.
        slots: runs that a worker has at once.
        cores: of a worker's machine.
        one_box: all workers share one machine.
        database_cores: of the database.
        line_mb_s: megabytes a second of the address by which all reach the archives.
        dequeue_s: seconds between two looks of the daemon into its queue.
        per_dequeue: runs that it launches at one look, at most.
        start_timeout_s: after which a run that did not start is given up.
        found_s: how long a run of a dead worker is thought to work, from and to; of `max_runtime` both are that.
    """

    workers: int
    slots: int
    cores: float
    one_box: bool = False
    database_cores: float = 8.0
    line_mb_s: float = 125.0
    dequeue_s: float = 1.0
    per_dequeue: int = 50
    start_timeout_s: float = 180.0
    found_s: tuple[float, float] = (11.0, 25.0)


@dataclass
class _Run:
    work: Work
    worker: int = -1
    left: list[float] = field(default_factory=list)
    lost_until: float = 0.0

    def begin(self, worker: int) -> None:
        self.worker = worker
        need = self.work
        self.left = [need.start_cpu_s, need.cpu_s, need.database_s, need.megabytes, need.idle_s]


@dataclass(frozen=True)
class Outcome:
    """How a backfill went: seconds, how often a run was begun again, and how busy each resource was, 0 to 1."""

    seconds: float
    retried: int
    busy: dict[str, float]

    @property
    def limit(self) -> str:
        """The resource that was busiest."""
        return max(self.busy, key=lambda name: self.busy[name])


def simulate(cluster: Cluster, runs: list[Work], *, kills: tuple[float, ...] = (), seed: int = 7) -> Outcome:
    """Run a backfill to its end.

    Args:
        cluster: on what.
        runs: its runs, in the order in which they are asked for.
        kills: seconds at which a worker dies; another takes its place at once, its runs are lost until they are found.
        seed: of chance: which worker dies, how soon its runs are found.
    """
    chance = random.Random(seed)
    waiting = [_Run(work) for work in runs][::-1]
    active: list[_Run] = []
    deaths = sorted(kills)
    used = dict.fromkeys(("workers", "database", "line"), 0.0)
    now, next_look, retried = 0.0, 0.0, 0
    machines = 1 if cluster.one_box else cluster.workers
    while waiting or active:
        if now >= next_look:
            _launch(cluster, waiting, active)
            next_look = now + cluster.dequeue_s
        while deaths and deaths[0] <= now:
            deaths.pop(0)
            _kill(cluster, active, now, chance)
        used["workers"] += _step(cluster, active, used)
        now += STEP_S
        for run in [each for each in active if each.lost_until and each.lost_until <= now]:
            active.remove(run)
            waiting.append(_Run(run.work))
            retried += 1
        active = [run for run in active if run.lost_until or sum(run.left) > 1e-9]
    whole = {"workers": machines * cluster.cores, "database": cluster.database_cores, "line": cluster.line_mb_s}
    return Outcome(now, retried, {name: used[name] / (whole[name] * now) for name in used})


def _launch(cluster: Cluster, waiting: list[_Run], active: list[_Run]) -> None:
    taken = [0] * cluster.workers
    for run in active:
        if not run.lost_until:
            taken[run.worker] += 1
    for _ in range(cluster.per_dequeue):
        worker = min(range(cluster.workers), key=taken.__getitem__)
        if not waiting or taken[worker] >= cluster.slots:
            return
        run = waiting.pop()
        run.begin(worker)
        active.append(run)
        taken[worker] += 1


def _kill(cluster: Cluster, active: list[_Run], now: float, chance: random.Random) -> None:
    dead = chance.randrange(cluster.workers)
    for run in active:
        if run.worker == dead and not run.lost_until:
            starting = run.left[0] > 0
            run.lost_until = now + (cluster.start_timeout_s if starting else chance.uniform(*cluster.found_s))


def _step(cluster: Cluster, active: list[_Run], used: dict[str, float]) -> float:
    """Give each living run its part of everything; returns the CPU that workers used."""
    alive = [run for run in active if not run.lost_until]
    on = [0] * cluster.workers
    for run in alive:
        if run.left[0] > 0 or run.left[1] > 0:
            on[0 if cluster.one_box else run.worker] += 1
    at_database = sum(run.left[0] <= 0 < run.left[2] for run in alive)
    on_line = sum(run.left[0] <= 0 < run.left[3] for run in alive)
    spent = 0.0
    for run in alive:
        cores = on[0 if cluster.one_box else run.worker]
        share = STEP_S * min(1.0, cluster.cores / cores) if cores else 0.0
        if run.left[0] > 0:
            got = min(run.left[0], share)
            run.left[0] -= got
            spent += got
            continue
        for index, part, name in (
            (1, share, ""),
            (2, STEP_S * min(1.0, cluster.database_cores / max(at_database, 1)), "database"),
            (3, STEP_S * cluster.line_mb_s / max(on_line, 1), "line"),
            (4, STEP_S, "idle"),
        ):
            got = min(run.left[index], part)
            run.left[index] -= got
            if name in used:
                used[name] += got
            elif not name:
                spent += got
    return spent


def definitions_cpu_s(symbols: int) -> float:
    """CPU that a code location of so many symbols takes to load: a line through the measured ends."""
    return 1.9 + (symbols - 3) * (47.9 - 1.9) / (600 - 3)


def granted_in_a_minute(callers: int, cap: int, cost: int, call_s: float) -> int:
    """What callers get of a cap in one minute when each asks again as soon as it was answered."""
    return min(cap, callers * int(60 / call_s) * cost)


@dataclass(frozen=True)
class Point:
    """A measured number and the simulated one.

    Attributes:
        within: largest distance that counts as reproduced, as a share of the measured one.
    """

    name: str
    measured: float
    simulated: float
    within: float

    @property
    def reproduced(self) -> bool:
        """Whether the simulated number is near enough."""
        return abs(self.simulated - self.measured) <= self.within * self.measured


_BOX = Cluster(workers=2, slots=2, cores=2, one_box=True, start_timeout_s=60.0)
_SMALL = Work(start_cpu_s=1.6, cpu_s=0.0, idle_s=0.5)
"""A run of the small code location that Celery was tried with; its start is fitted to the first point."""


def points() -> list[Point]:
    """What was measured on one box of two cores, and what the simulation says of it."""
    killed = simulate(replace(_BOX, dequeue_s=5.0), [replace(_SMALL, idle_s=6.0)] * 6, kills=(1.0,))
    return [
        Point("48 runs, 2 Celery workers of 2 slots (s)", 49.8, simulate(_BOX, [_SMALL] * 48).seconds, 0.1),
        Point("6 runs, a worker killed, launcher asks (s)", 78.0, killed.seconds, 0.2),
        Point("definitions of 50 symbols (CPU s)", 6.6, definitions_cpu_s(50), 0.2),
        Point("definitions of 200 symbols (CPU s)", 17.8, definitions_cpu_s(200), 0.1),
        Point("four callers, cap 1,920", 1920, granted_in_a_minute(4, 1920, 5, 0.00155), 0.0),
    ]


def backfill(days_per_run: int, scale: int = 1) -> list[Work]:
    """The runs of 600 symbols and six years, every `scale`-th of them.

    A symbol day costs 3.4 CPU s with everything (a simulated year on one box made 852 hours a minute on two cores); of
    these 0.8 s are rows of Dagster (1,782 hours a minute), of which half is taken for the database. 20 TB of archives
    are 15 MB a day.
    """
    start = definitions_cpu_s(25)
    run = Work(start, 3.0 * days_per_run, database_s=0.4 * days_per_run, megabytes=15.2 * days_per_run)
    return [run] * (_SYMBOLS * _DAYS // days_per_run // scale)


def predict(workers: int, *, line_mb_s: float = 125.0, lost_an_hour: float = 0.0) -> Outcome:
    """A hundredth of the backfill on workers of 4 cores and 4 slots; times a hundred is the whole.

    Args:
        workers: how many.
        line_mb_s: of the one address by which they reach the archives.
        lost_an_hour: workers that die in an hour.
    """
    cluster = Cluster(workers=workers, slots=4, cores=4, line_mb_s=line_mb_s)
    deaths = int(400 / workers * lost_an_hour)
    kills = tuple(3600 * (index + 0.5) / lost_an_hour for index in range(deaths))
    return simulate(cluster, backfill(30, scale=100), kills=kills)


def main() -> int:
    """Print the points and the predictions; 1 where a point is not reproduced."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--workers", type=int, nargs="*", default=[1, 3, 10, 50], help="worker counts to predict")
    workers: list[int] = options.parse_args().workers
    found = points()
    out = sys.stdout.write
    for point in found:
        word = "ok" if point.reproduced else "off"
        out(f"{point.name:55} measured {point.measured:8.1f}  simulated {point.simulated:8.1f}  {word}\n")
    out("\n600 symbols × 6 years in day archives, workers of 4 cores (predicted, not measured):\n")
    for count in workers:
        for line in (125.0, 1250.0):
            one = predict(count, line_mb_s=line)
            busy = ", ".join(f"{name} {share:.0%}" for name, share in one.busy.items())
            out(f"{count:4} workers, {line * 8 / 1000:4.0f} Gbit/s: {one.seconds * 100 / 86400:7.1f} days; {busy}\n")
    return 0 if all(point.reproduced for point in found) else 1


if __name__ == "__main__":
    sys.exit(main())
