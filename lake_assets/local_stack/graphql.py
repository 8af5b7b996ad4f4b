"""A small client of Dagster's GraphQL API: the calls that the web UI makes for backfills and statuses.

Belongs here: queries, their variables, typed answers. Does not belong here: what to launch, how to print it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from lake_assets.dagster_names import ROOT_METADATA
from lake_resources.clock import system_clock
from lake_resources.errors import LakeError

_DAEMON_SILENCE = timedelta(minutes=5)
"""Each daemon shows a sign of life every 30 s, but not while it is busy with one thing."""
_LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on PartitionKeysNotFoundError { message }
    ... on UnauthorizedError { message }
  }
}
"""
_BACKFILL = """
query ($id: String!) {
  waiting: runsOrError(filter: {tags: [{key: "dagster/backfill", value: $id}], statuses: [NOT_STARTED, QUEUED]}) {
    ... on Runs { count }
  }
  working: runsOrError(
    filter: {tags: [{key: "dagster/backfill", value: $id}], statuses: [STARTING, STARTED, CANCELING]}
  ) { ... on Runs { count } }
  total: runsOrError(filter: {tags: [{key: "dagster/backfill", value: $id}]}) { ... on Runs { count } }
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PythonError { message }
    ... on BackfillNotFoundError { message }
    ... on PartitionBackfill {
      status
      error { message }
      assetBackfillData {
        assetBackfillStatuses {
          ... on AssetPartitionsStatusCounts {
            assetKey { path }
            numPartitionsTargeted numPartitionsInProgress numPartitionsMaterialized numPartitionsFailed
          }
        }
      }
    }
  }
}
"""
_ROOT = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode { metadataEntries { label ... on PathMetadataEntry { path } } }
  }
}
"""
_OPEN_BACKFILLS = """
query { partitionBackfillsOrError(filters: {statuses: [REQUESTED, CANCELING, FAILING]}, limit: 100) {
  ... on PartitionBackfills { results { id title tags { key value } } }
  ... on PythonError { message }
} }
"""
_ASSET = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } }
      assetChecksOrError {
        ... on AssetChecks {
          checks {
            name
            partitionStatuses { ... on AssetCheckTimePartitionStatuses { ranges { status startKey endKey } } }
          }
        }
      }
    }
  }
}
"""


@dataclass(frozen=True)
class KeyRange:
    """A run of partition keys of one status, both ends inclusive."""

    status: str
    start: str
    end: str

    @property
    def there(self) -> bool:
        """Whether they are materialized."""
        return self.status == "MATERIALIZED"


@dataclass(frozen=True)
class AssetProgress:
    """Counts of one asset in a backfill."""

    key: tuple[str, ...]
    targeted: int
    in_progress: int
    materialized: int
    failed: int


@dataclass(frozen=True)
class RunCounts:
    """Runs of a backfill so far: all of them, those that wait for a place, and those that work."""

    total: int = 0
    waiting: int = 0
    working: int = 0


@dataclass(frozen=True)
class BackfillProgress:
    """State of a backfill: Dagster's status word, its error, counts per asset, and its runs.

    An asset's counts stay as they are while Dagster queues runs, which of a long backfill takes many minutes.
    """

    status: str
    error: str | None
    assets: tuple[AssetProgress, ...]
    runs: RunCounts = RunCounts()

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.status.startswith("COMPLETED") or self.status in {"FAILED", "CANCELED"}


@dataclass(frozen=True)
class AssetStatuses:
    """Partition statuses of an asset and of each of its checks."""

    partitions: tuple[KeyRange, ...]
    checks: dict[str, tuple[KeyRange, ...]]


DAGSTER = "Dagster"
_VERSION = "dagster_webserver_version"
"""What Dagster's webserver tells of itself, and no other does."""


def _json(response: httpx.Response) -> dict[str, Any] | None:
    """The object of a JSON body; None where it is something else."""
    try:
        found = response.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class DagsterApi:
    """Talks to one webserver.

    Args:
        url: its address without a path.
        token: of `LAKE_WEB_TOKEN`; empty where the webserver asks for none.
        timeout_s: of one call.
    """

    def __init__(self, url: str, *, token: str = "", timeout_s: float = 60.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else None
        self._client = httpx.Client(base_url=url, timeout=timeout_s, headers=headers)
        self.url = url

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        """Run one GraphQL document; raises LakeError with the server's own words."""
        response = self._client.post("/graphql", json={"query": text, "variables": variables})
        if response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise LakeError(
                f"{self.url} refused: {response.text.strip()}", remedy="Set LAKE_WEB_TOKEN as `lake up` had it"
            )
        body = _json(response)
        if body is None:
            raise LakeError(f"{self.url} is no Dagster: its answer is no JSON", remedy="Look who listens on that port")
        if body.get("errors"):
            raise LakeError(f"{self.url}/graphql answered {body['errors']}", remedy="Look at the webserver's log")
        data: dict[str, Any] = body["data"]
        return data

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def alive(self) -> bool:
        """Whether a Dagster webserver answers."""
        return self.who_answers() == DAGSTER

    def who_answers(self) -> str | None:
        """`DAGSTER`, or in words what else answers where it should; None where nobody listens."""
        try:
            found = self._client.get("/server_info", timeout=2.0)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return None
        except httpx.TransportError as error:
            return f"somebody who speaks no HTTP in time ({type(error).__name__})"
        if found.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return f"somebody who refuses (HTTP {found.status_code}): LAKE_WEB_TOKEN may be another one"
        if found.status_code == httpx.codes.OK and _VERSION in (_json(found) or {}):
            return DAGSTER
        return f"another program (HTTP {found.status_code} of /server_info)"

    def shows(self, key: Sequence[str], root: Path) -> bool:
        """Whether the webserver's minute table of that key lies in the lake at `root`: the port may be another's."""
        node = self.query(_ROOT, key={"path": list(key)})["assetNodeOrError"]
        paths = {entry["label"]: entry.get("path") for entry in node.get("metadataEntries") or ()}
        return paths.get(ROOT_METADATA) == str(root)

    def daemons_healthy(self, since: datetime | None = None) -> bool:
        """Whether every required daemon is healthy and has shown a sign of life since an instant (5 minutes ago).

        Dagster alone calls a daemon healthy for half an hour after its end.
        """
        since = since or system_clock() - _DAEMON_SILENCE
        data = self.query("{ instance { daemonHealth { allDaemonStatuses { required healthy lastHeartbeatTime } } } }")
        required = [found for found in data["instance"]["daemonHealth"]["allDaemonStatuses"] if found["required"]]
        return bool(required) and all(
            found["healthy"] and (found["lastHeartbeatTime"] or 0.0) >= since.timestamp() for found in required
        )

    def location_loaded(self) -> bool:
        """Whether the code location is loaded; raises LakeError when loading failed."""
        data = self.query(
            "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus"
            " locationOrLoadError { __typename ... on PythonError { message } } } } } }"
        )
        entries = data["workspaceOrError"]["locationEntries"]
        for entry in entries:
            found = entry["locationOrLoadError"]
            if found and found["__typename"] == "PythonError":
                raise LakeError(
                    f"The code location did not load: {found['message']}", remedy="Mend the code or setting"
                )
        return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)

    def launch_backfill(
        self,
        ranges: Iterable[tuple[Sequence[str], str, str]],
        *,
        title: str,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Launch one partition backfill, as the UI does.

        Args:
            ranges: asset key, first and last partition key; a key may have several ranges.
            title: shown in the UI.
            tags: carried by the backfill and by each of its runs.

        Raises:
            LakeError: Dagster refused it.
        """
        by_key: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for key, start, end in ranges:
            by_key.setdefault(tuple(key), []).append({"start": start, "end": end})
        params = {
            "title": title,
            "tags": [{"key": name, "value": value} for name, value in (tags or {}).items()],
            "partitionsByAssets": [
                {"assetKey": {"path": list(key)}, "partitions": {"ranges": found}} for key, found in by_key.items()
            ],
        }
        answer = self.query(_LAUNCH, params=params)["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            raise LakeError(f"Dagster refused the backfill: {answer}", remedy="Check asset keys and partition keys")
        return str(answer["backfillId"])

    def open_backfills(self) -> dict[str, dict[str, str]]:
        """Backfills that are not finished: their tags by id.

        Raises:
            LakeError: Dagster lists none.
        """
        found = self.query(_OPEN_BACKFILLS)["partitionBackfillsOrError"]
        if "results" not in found:
            raise LakeError(f"{self.url} lists no backfills: {found}", remedy="Look at the webserver's log")
        return {row["id"]: {tag["key"]: tag["value"] for tag in row["tags"]} for row in found["results"]}

    def backfill(self, backfill_id: str) -> BackfillProgress:
        """Progress of a backfill.

        Raises:
            LakeError: there is none of that id, or Dagster's storage could not be asked.
        """
        answer = self.query(_BACKFILL, id=backfill_id)
        found = answer["partitionBackfillOrError"]
        if "status" not in found:
            raise LakeError(f"{self.url} tells nothing of backfill {backfill_id}: {found}", remedy="Ask again")
        statuses = (found.get("assetBackfillData") or {}).get("assetBackfillStatuses") or []
        return BackfillProgress(
            found["status"],
            (found.get("error") or {}).get("message"),
            tuple(
                AssetProgress(
                    tuple(s["assetKey"]["path"]),
                    s["numPartitionsTargeted"],
                    s["numPartitionsInProgress"],
                    s["numPartitionsMaterialized"],
                    s["numPartitionsFailed"],
                )
                for s in statuses
                if s
            ),
            RunCounts(**{name: answer[name].get("count", 0) for name in ("total", "waiting", "working")}),
        )

    def statuses(self, key: Sequence[str]) -> AssetStatuses:
        """Partition statuses of one asset and its checks."""
        node = self.query(_ASSET, key={"path": list(key)})["assetNodeOrError"]
        checks = (node.get("assetChecksOrError") or {}).get("checks") or []
        return AssetStatuses(
            _ranges(node.get("assetPartitionStatuses")),
            {check["name"]: _ranges(check.get("partitionStatuses")) for check in checks},
        )


def _ranges(found: dict[str, Any] | None) -> tuple[KeyRange, ...]:
    return tuple(KeyRange(r["status"], r["startKey"], r["endKey"]) for r in (found or {}).get("ranges", ()))
