"""Whom the guard of local web pages lets through: the rules, without a socket."""

from __future__ import annotations

import base64

import pytest

from lake_resources.errors import SettingsError
from lake_resources.local_web import AskedPage, Rules, judge, require_token
from lake_resources.settings import LakeSettings

HERE = "127.0.0.1:3000"
MUTATION = "query=mutation%20%7B%20wipeAssets%20%7D"
DISGUISED = "query=%23x%0A%6dutation%20%7B%20wipeAssets%20%7D"


def status(
    method: str = "POST", *, host: str | None = HERE, query: str = "", rules: Rules | None = None, guarded: bool = True,
    kind: str = "http", **headers: str,
) -> int:  # fmt: skip
    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    named = [] if host is None else [("host", host)]
    found = judge(
        AskedPage(kind, method, "/graphql", query, (*named, *given)), rules or Rules(no_forms=True), guarded=guarded
    )
    return 200 if found is None else found.status


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        (HERE, 200), ("localhost:3000", 200), ("LOCALHOST", 200), ("[::1]:3000", 200), ("127.9.9.9", 200),
        ("localhost.:3000", 200), ("evil.example", 403), ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:3000", 403), ("evil.example:3000", 403), ("10.0.0.1:3000", 403),
        ("", 403), (None, 403), ("[::1", 403),
        ("evil@127.0.0.1", 403),
        ("127.0.0.1/x", 403), ("localhost:3000:1", 403), ("localhost:x", 403), ("localhost:99999", 403),
        ("[::1]x", 403), ("::1", 403), ("localhost, evil.example", 403), ("127.1", 403), ("2130706433", 403),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_names_of_loopback_are_answered(host: str | None, wanted: int, method: str) -> None:
    assert status(method, host=host) == wanted
    assert status(method, host=host, guarded=False) == wanted


def test_a_setting_names_other_hosts() -> None:
    rules = Rules(frozenset({"lake.example"}))
    assert status(host="lake.example:3000", rules=rules) == 200
    assert status(host="other.example", rules=rules) == 403


def test_two_host_headers_are_none() -> None:
    asked = AskedPage("http", "GET", "/", "", (("host", HERE), ("host", "evil.example")))
    assert judge(asked, Rules()) is not None


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:8000",
        "http://localhost:3000",
        "http://127.0.0.1:3000.evil.example",
        "http://127.0.0.1:3000@evil.example",
        "http://[",
    ],
)
def test_a_page_of_another_origin_changes_nothing_and_may_read(origin: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert status(method, origin=origin, content_type="application/json") == 403
    assert status("GET", origin=origin) == 200
    assert status("", kind="websocket", origin=origin) == 403


def test_the_own_page_and_programs_go_through() -> None:
    assert status(origin=f"http://{HERE}", content_type="application/json") == 200
    assert status(origin="http://localhost:9999", host="localhost:9999") == 200
    assert status(content_type="application/json; charset=utf-8") == 200
    assert status("", kind="websocket", origin=f"http://{HERE}") == 200
    assert status("", kind="websocket") == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_browser_that_tells_another_site_is_believed(site: str) -> None:
    assert status(sec_fetch_site=site) == 403
    assert status(sec_fetch_site="same-origin", origin=f"http://{HERE}") == 200


@pytest.mark.parametrize("query", [MUTATION, DISGUISED, f"variables=1&{MUTATION}", f"query=1&{MUTATION}"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_no_read_is_a_mutation_whoever_asks(query: str, method: str) -> None:
    assert status(method, query=query) == 403


def test_a_query_may_be_read() -> None:
    assert status("GET", query="query=%7Bversion%7D") == 200


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; x=application/json",
        "application/x-www-form-urlencoded",
        "Multipart/Form-Data; boundary=x",
    ],
)
def test_no_body_that_a_page_could_send_unasked(kind: str) -> None:
    assert status(content_type=kind) == 403
    assert status(content_type=kind, rules=Rules()) == 200, "the simulator's controls take what curl sends"


def test_a_token_is_asked_for_by_any_name_or_as_bearer() -> None:
    rules = Rules(token="long and random: ä")
    basic = base64.b64encode("me:long and random: ä".encode()).decode()
    assert status("GET", rules=rules) == 401
    assert status("GET", rules=rules, authorization=f"Basic {basic}") == 200
    assert status("GET", rules=rules, authorization="bearer long and random: ä") == 200
    for wrong in ("Basic", "Basic ?", "Basic bWU6", "Basic ä", "Bearer", "Bearer long", "Digest long and random: ä"):
        assert status("GET", rules=rules, authorization=wrong) == 401
    assert status(rules=rules, authorization=f"Basic {basic}", origin="https://evil.example") == 403
    assert "random" not in repr(rules)


def test_nobody_listens_beyond_this_machine_without_a_token() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.1.2.3"):
        require_token(host, "")
    for host in ("0.0.0.0", "::", "192.168.1.5", "lake.example", ""):
        require_token(host, "token")
        with pytest.raises(SettingsError, match="LAKE_WEB_TOKEN"):
            require_token(host, "")


def test_the_token_is_in_no_text_of_the_settings() -> None:
    settings = LakeSettings(_env_file=None, web_token="very secret", web_hosts="Lake.Example, b.example")  # type: ignore[call-arg, arg-type]
    assert "very secret" not in repr(settings)
    assert settings.web_hosts == ("lake.example", "b.example")
