"""The HTTP client by itself, on real sockets: encodings, keep-alive, TLS, what a broken connection becomes."""

from __future__ import annotations

import gzip

import pytest

from lake_resources.errors import RateLimited, TransportError
from lake_resources.http import HttpClient, retrying
from lake_tests.support.scripted_exchange import Reply, in_order, scripted


def test_names_of_any_script_and_a_base_path_are_kept() -> None:
    with scripted(in_order(Reply(b"ok"))) as server:
        client = HttpClient(server.base_url + "/proxy", timeout_s=30, connections=1)
        assert client.get("/币安USDT/x.zip", {"symbol": "币安人生USDT", "limit": 5}).body == b"ok"
        client.close()
    path, query = server.requests[0]
    assert path == "/proxy/%E5%B8%81%E5%AE%89USDT/x.zip"
    assert query == {"symbol": "币安人生USDT", "limit": "5"}


def test_compressed_answers_are_unpacked_only_where_asked_for() -> None:
    packed = Reply(gzip.compress(b"[1]"), headers={"Content-Encoding": "gzip"})
    with scripted(in_order(packed)) as server:
        client = HttpClient(server.base_url, timeout_s=30, connections=1, gzip=True)
        assert client.get("/").body == b"[1]"
        client.close()


def test_a_stream_gives_the_body_in_pieces_and_finds_the_cut() -> None:
    body = bytes(range(256)) * 4096
    with scripted(in_order(Reply(body), Reply(body, cut=1))) as server:
        client = HttpClient(server.base_url, timeout_s=30, connections=1)
        with client.stream("/") as answer:
            assert answer.status == 200
            pieces = list(answer.pieces)
        assert len(pieces) > 1
        assert b"".join(pieces) == body
        with client.stream("/") as answer, pytest.raises(TransportError, match="IncompleteRead"):
            list(answer.pieces)
        client.close()


def test_an_unread_body_does_not_reach_the_next_answer() -> None:
    body = b"x" * (1 << 20)
    with scripted(in_order(Reply(body), Reply(b"gone", 404), Reply(b"next"))) as server:
        client = HttpClient(server.base_url, timeout_s=30, connections=1)
        with client.stream("/"):
            pass
        with client.stream("/") as answer:
            assert answer.status == 404
        assert client.get("/").body == b"next"
        client.close()


def test_a_server_that_speaks_no_tls_is_a_transport_error() -> None:
    with scripted(in_order(Reply(b"ok"))) as server:
        client = HttpClient(server.base_url.replace("http:", "https:"), timeout_s=30, connections=1, remedy="Look here")
        with pytest.raises(TransportError, match=r"SSL.*Look here"):
            client.get("/")
        client.close()


def test_back_off_doubles_to_a_limit_and_obeys_the_exchange() -> None:
    slept: list[float] = []
    errors = [TransportError("GET /", "cut")] * 9 + [RateLimited("GET /", "429", retry_after_s=3.5)]

    def fail() -> None:
        raise errors.pop(0)

    with pytest.raises(RateLimited):
        retrying(10, slept.append)(fail)
    # A quarter of jitter on top of each.
    assert all(base <= wait <= 1.25 * base for base, wait in zip((0.25, 0.5, 1.0), slept, strict=False))
    assert 30 <= slept[8] <= 37.5
    assert len(slept) == 9
