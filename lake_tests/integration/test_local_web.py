"""Web pages of this machine asked by real clients: the web UI's process, the simulator, a browser on a foreign page."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import dagster as dg
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from lake_resources.dagster_instance import open_instance
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.waiting import free_port, wait_until

pytestmark = pytest.mark.slow

WIPE = 'mutation { wipeAssets(assetPartitionRanges: [{assetKey: {path: ["precious"]}}]) { __typename } }'
EVIL = "http://evil.example"
CHROMIUM = shutil.which("chromium")
KEY = dg.AssetKey("precious")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dagster instance whose one asset has a history."""
    place = tmp_path_factory.mktemp("web")
    (place / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    (place / "precious.py").write_text("import dagster as dg\n\n@dg.asset\ndef precious(): ...\n")
    (place / "workspace.yaml").write_text("load_from: [{python_file: {relative_path: precious.py}}]\n")
    with dg.DagsterInstance.from_config(str(place)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY))
    return place


@contextmanager
def web_ui(home: Path, **settings: object) -> Iterator[int]:
    """The process that `lake up` starts, on a port of its own."""
    port = free_port()
    chosen = {"LAKE_WEBSERVER_PORT": port, "DAGSTER_HOME": home} | {f"LAKE_{k.upper()}": v for k, v in settings.items()}
    environment = {**os.environ, **{name: str(value) for name, value in chosen.items()}}
    command = [sys.executable, "-m", "lake_assets.local_stack.webserver", "--workspace", str(home / "workspace.yaml")]
    with (home / "web.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:

        def answers() -> bool:
            assert process.poll() is None, (home / "web.log").read_text()
            return ask(port, "GET", "/server_info")[0] in {200, 401}

        wait_until(answers, "the web UI", seconds=240, every_s=0.2)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(120)


@pytest.fixture(scope="module")
def ui(home: Path) -> Iterator[int]:
    with web_ui(home) as port:
        yield port


def ask(port: int, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
    """Status and body of one request; 0 where nobody listens. Nothing but what is given is sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except ConnectionRefusedError:
        return 0, ""
    finally:
        connection.close()


def is_there(home: Path) -> bool:
    with open_instance(home) as instance:
        return instance.get_latest_materialization_event(KEY) is not None


def test_a_mutation_of_a_foreign_page_is_refused_in_every_disguise(ui: int, home: Path) -> None:
    body, read = json.dumps({"query": WIPE}), json.dumps({"query": "{ version }"})
    query = urlencode({"query": WIPE})
    json_type, disguise = "application/json", "text/plain; x=application/json"
    refused = [
        ask(ui, "GET", f"/graphql?{query}"),
        ask(ui, "GET", f"/graphql?{query}", Origin=EVIL),
        ask(ui, "POST", f"/graphql?{query}", Origin=EVIL),
        ask(ui, "POST", "/graphql", body, Origin=EVIL, Content_Type=disguise),
        ask(ui, "POST", "/graphql", body, Origin="null", Content_Type=disguise),
        ask(ui, "POST", "/graphql", body, Content_Type=disguise),
        ask(ui, "POST", "/graphql", body, Origin=EVIL, Content_Type=json_type),
        ask(ui, "POST", "/graphql", body, Origin=f"http://127.0.0.1:{ui + 1}", Content_Type=json_type),
        ask(ui, "POST", "/graphql", read, Host="evil.example", Content_Type=json_type),
        ask(ui, "POST", "/graphql", read, Host="evil.example", Origin=EVIL, Content_Type=json_type),
        ask(ui, "GET", "/", Host="evil.example"),
        ask(ui, "POST", "/report_asset_materialization/precious", Origin=EVIL),
    ]
    assert [status for status, _ in refused] == [403] * len(refused)
    assert is_there(home)


def test_the_ui_and_programs_are_answered(ui: int) -> None:
    body = json.dumps({"query": "{ version }"})
    own = f"http://127.0.0.1:{ui}"
    assert ask(ui, "POST", "/graphql", body, Content_Type="application/json")[0] == 200
    assert ask(ui, "POST", "/graphql", body, Content_Type="application/json", Origin=own)[0] == 200
    assert ask(ui, "GET", "/graphql?query=%7Bversion%7D")[0] == 200
    status, page = ask(ui, "GET", "/", Host=f"localhost:{ui}")
    assert (status, "<html" in page) == (200, True)


def test_a_socket_of_a_foreign_page_is_refused(ui: int) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{ui}/graphql", origin=EVIL, subprotocols=["graphql-ws"])  # type: ignore[arg-type, list-item]
    with connect(f"ws://127.0.0.1:{ui}/graphql", origin=f"http://127.0.0.1:{ui}", subprotocols=["graphql-ws"]) as own:  # type: ignore[arg-type, list-item]
        own.send(json.dumps({"type": "connection_init"}))
        assert json.loads(own.recv(timeout=120))["type"] == "connection_ack"


def test_with_a_token_nobody_is_answered_without_it(home: Path) -> None:
    with web_ui(home, web_token="a long random text") as port:
        assert ask(port, "GET", "/")[0] == 401
        assert ask(port, "GET", "/", Authorization="Bearer a long random text")[0] == 200


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The dashboard's process, with a token."""
    place, port = tmp_path_factory.mktemp("dashboard"), free_port()
    chosen = {"DASHBOARD_PORT": port, "ROOT": place / "lake", "WEB_TOKEN": "a long random text"}
    environment = {**os.environ, "HOME": str(place)} | {f"LAKE_{name}": str(value) for name, value in chosen.items()}
    command = [sys.executable, "-m", "lake_assets.dashboard.web_server"]
    with (place / "web.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log)
    try:

        def answers() -> bool:
            assert process.poll() is None, (place / "web.log").read_text()
            try:
                return ask(port, "GET", "/")[0] == 401
            except OSError:
                return False

        wait_until(answers, "the dashboard")
        yield port
    finally:
        process.terminate()
        process.wait(120)


def test_the_dashboard_answers_who_knows_its_name_and_token(dashboard: int) -> None:
    knows, own = {"Authorization": "Bearer a long random text"}, f"http://127.0.0.1:{dashboard}"
    paths = ("/", "/quality", "/_stcore/health", "/media/0123.csv", "/component/chart/index.html", "/static/x.js")
    for path in paths:
        assert ask(dashboard, "GET", path)[0] == 401, path
        assert ask(dashboard, "GET", path, Host="evil.example", **knows)[0] == 403, path
        assert ask(dashboard, "GET", path, **knows)[0] != 403, path
    for method, path in (("PUT", "/_stcore/upload_file/1/2"), ("DELETE", "/_stcore/upload_file/1/2"), ("POST", "/")):
        assert ask(dashboard, method, path, "x", Origin=EVIL, **knows)[0] == 403, path
    assert ask(dashboard, "GET", "/_stcore/health", **knows)[0] == 200
    stream = f"ws://127.0.0.1:{dashboard}/_stcore/stream"
    with pytest.raises(InvalidStatus, match="403"):
        connect(stream, origin=EVIL, additional_headers=knows)  # type: ignore[arg-type]
    with pytest.raises(InvalidStatus, match="403"):
        connect(stream, origin=own)  # type: ignore[arg-type]
    with connect(stream, origin=own, additional_headers=knows) as socket:  # type: ignore[arg-type]
        assert socket.protocol.state.name == "OPEN"


def test_the_web_ui_does_not_listen_beyond_this_machine_without_a_token(home: Path) -> None:
    environment = {**os.environ, "DAGSTER_HOME": str(home), "LAKE_WEBSERVER_HOST": "0.0.0.0"}
    command = [sys.executable, "-m", "lake_assets.local_stack.webserver", "--workspace", str(home / "workspace.yaml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert SettingsError.__name__ in done.stderr
    assert "LAKE_WEB_TOKEN" in done.stderr


def test_the_controls_of_the_simulator_are_this_machines() -> None:
    with SimulatorServer() as sim:
        port = int(sim.base_url.rpartition(":")[2])
        fault = json.dumps({"kind": "5xx", "path": "/fapi/"})
        for method, path, body in (
            ("POST", "/sim/faults", fault), ("DELETE", "/sim/faults", None), ("POST", "/sim/clock", '{"advance_s": 9}'),
            ("DELETE", "/sim/clock", None), ("DELETE", "/sim/sockets", None), ("DELETE", "/sim/requests", None),
        ):  # fmt: skip
            assert ask(port, method, path, body, Origin=EVIL, Content_Type="text/plain")[0] == 403
            assert ask(port, method, path, body, Host="evil.example")[0] == 403
        assert ask(port, "GET", "/sim/faults", Host="evil.example")[0] == 403
        assert sim.faults.state() == []
        assert ask(port, "POST", "/sim/faults", fault, Content_Type="application/x-www-form-urlencoded")[0] == 201
        assert ask(port, "GET", "/fapi/v1/ping")[0] == 503


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer() as found:
        found.clock.freeze(datetime(2026, 11, 18, tzinfo=UTC))
        yield found


@pytest.fixture
def foreign_page(ui: int, dashboard: int, simulator: SimulatorServer) -> Iterator[str]:
    """A page of another origin that tries everything a page can, and says when it is done."""
    bodies = json.dumps({"faults": '{"kind": "5xx", "path": "/fapi/"}', "clock": '{"advance_s": 9}'})
    wipe, query = json.dumps(WIPE), json.dumps(f"http://127.0.0.1:{ui}/graphql?{urlencode({'query': WIPE})}")
    page = f"""<html><body><script>
      const to = "http://127.0.0.1:{ui}/graphql", body = JSON.stringify({{query: {wipe}}});
      const post = (type) => fetch(to, {{method: "POST", mode: "no-cors", headers: {{"content-type": type}}, body}});
      const sim = "{simulator.base_url}/sim/", board = "http://127.0.0.1:{dashboard}/";
      const socket = (to, ...protocols) => new Promise((end) => {{
        const ws = new WebSocket(to.replace("http", "ws"), protocols);
        ws.onopen = () => end("open"); ws.onerror = () => end("refused"); }});
      const picture = (from) => new Promise((end) => {{
        const image = new Image(); image.onload = image.onerror = end; image.src = from; }});
      const form = (to, name, body) => new Promise((end) => {{
        const frame = document.createElement("iframe"), form = document.createElement("form");
        frame.name = name; form.target = name; form.action = to; form.method = "post"; form.enctype = "text/plain";
        const field = document.createElement("input"); form.append(field);
        field.name = body.slice(0, -1) + ', "x": "'; field.value = '"}}';
        document.body.append(frame, form); frame.onload = end; form.submit(); }});
      (async () => {{
        const tried = [];
        for (const type of ["text/plain", "text/plain; x=application/json", "application/json"])
          await post(type).then(() => tried.push("sent"), () => tried.push("kept back"));
        await picture({query}); await fetch({query}, {{mode: "no-cors"}}).catch(() => 0);
        tried.push(await socket(to, "graphql-ws"));
        for (const [place, body] of Object.entries({bodies})) {{
          await fetch(sim + place, {{method: "POST", mode: "no-cors", body}}).catch(() => 0);
          await fetch(sim + place, {{method: "DELETE"}}).catch(() => 0);
          await picture(sim + place); await form(sim + place, "sim" + place, body); }}
        await fetch(board, {{method: "POST", mode: "no-cors", body: "x"}}).catch(() => 0);
        tried.push(await socket(board + "_stcore/stream"));
        document.title = tried.join(", ");
      }})();
    </script></body></html>""".encode()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_real_browser_on_a_foreign_page_changes_nothing(
    foreign_page: str, ui: int, home: Path, simulator: SimulatorServer
) -> None:
    from playwright.sync_api import sync_playwright

    clock = simulator.clock.state()
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(foreign_page)
        page.wait_for_function("document.title !== ''", timeout=240_000)
        assert page.title().startswith("sent, sent"), "the page must have tried"
        assert page.title().endswith("refused, refused"), page.title()
        own = browser.new_page()
        own.goto(f"http://127.0.0.1:{ui}/assets")
        own.get_by_text("precious").first.wait_for(timeout=240_000)
        browser.close()
    assert is_there(home)
    assert simulator.faults.state() == []
    assert simulator.clock.state() == clock


def test_the_address_of_the_web_ui_is_one_that_a_browser_can_ask() -> None:
    for host, address in (
        ("127.0.0.1", "http://127.0.0.1:3000"), ("0.0.0.0", "http://127.0.0.1:3000"), ("::1", "http://[::1]:3000"),
        ("lake.example", "http://lake.example:3000"),
    ):  # fmt: skip
        assert LakeSettings(webserver_host=host, webserver_port=3000).web_address == address
