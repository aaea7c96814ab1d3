"""The frame of every answer: names we answer to, protective headers, bounded bodies, static files, errors."""

from __future__ import annotations

import gzip
import re
import socket
from pathlib import Path

import httpx2
import pytest

from tests.support.server import Served

FOREIGN = ("backup.example.com", "localhost.example.com", "127.0.0.2", "[::2]", "", "localhost:evil", "a b")


def get(server: Served, path: str, **headers: str) -> httpx2.Response:
    return httpx2.get(server.url + path, headers=headers, timeout=30)


@pytest.mark.clause("P1")
def test_only_names_of_ours_are_answered(shared_server: Served) -> None:
    for name in ("localhost", "LOCALHOST.", f"127.0.0.1:{shared_server.port}", "[::1]:8120"):
        assert get(shared_server, "/", Host=name).status_code == 200, name
    for name in FOREIGN:
        for path in ("/", "/privacy", "/accounts/signup", "/no/such/page"):
            answer = get(shared_server, path, Host=name)
            # Two of these are no Host header at all: the HTTP server itself may refuse them.
            assert answer.status_code in ((400, 421) if name in ("", "a b") else (421,)), (name, path)
            assert "Dear landlord" not in answer.text
            assert "set-cookie" not in answer.headers
    posted = httpx2.post(shared_server.url + "/appearance", headers={"Host": FOREIGN[0]}, data={})
    assert posted.status_code == 421


@pytest.mark.clause("P1")
def test_an_operator_names_hosts_and_the_statement_holds_there(tmp_path: Path) -> None:
    named = ("--site-host", "https://backup.example.org")
    served = Served(tmp_path / "server", options=named).start()
    try:
        proxied = {"Host": "backup.example.org", "X-Forwarded-Proto": "https"}
        answer = get(served, "/", **proxied)
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert get(served, "/", Host="backup.example.com").status_code == 421
        assert "strict-transport-security" not in get(served, "/").headers
    finally:
        served.kill()


@pytest.mark.clause("P65")
def test_every_answer_tells_browsers_to_keep_to_themselves(shared_server: Served) -> None:
    for path, status in (("/", 200), ("/no/such/page", 404), ("/overview", 302), ("/healthz", 200)):
        answer = get(shared_server, path)
        assert answer.status_code == status
        check_headers(answer)
    check_headers(get(shared_server, "/", Host=FOREIGN[0]))
    check_headers(httpx2.post(shared_server.url + "/accounts/login", data={"login": "a@example.org"}))


def check_headers(answer: httpx2.Response) -> None:
    said = answer.headers
    policy = dict(part.split(" ", 1) for part in said["content-security-policy"].split("; "))
    assert policy.pop("img-src") == "'self' data:"
    assert set(policy.values()) == {"'self'", "'none'"}
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert said["referrer-policy"] == "no-referrer"
    assert said["x-content-type-options"] == "nosniff"
    assert said["cross-origin-opener-policy"] == said["cross-origin-resource-policy"] == "same-origin"
    assert "geolocation=()" in said["permissions-policy"]
    assert "server" not in said
    assert said["cache-control"]


def test_more_than_a_form_can_be_is_not_read(shared_server: Served) -> None:
    assert httpx2.post(shared_server.url + "/sealed", data={"word": "x" * 700_000}).status_code == 413
    assert httpx2.post(shared_server.url + "/sealed", data={"word": "kitchen"}).status_code == 200


def test_slow_senders_keep_nobody_from_a_page(tmp_path: Path) -> None:
    served = Served(tmp_path / "server", config={"stranger_stall": 3}).start()
    slow = []
    try:
        for _ in range(20):  # more than there are threads that make pages
            slow.append(socket.create_connection(("127.0.0.1", served.port), timeout=30))
            slow[-1].sendall(b"POST /sealed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nwo")
        assert get(served, "/sealed").status_code == 200
        answers = [one.recv(200) for one in slow]
        assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers), answers
    finally:
        for one in slow:
            one.close()
        served.kill()


def test_forms_may_come_in_chunks_and_not_without_end(shared_server: Served) -> None:
    said = {"Content-Type": "application/x-www-form-urlencoded"}
    word = httpx2.post(shared_server.url + "/sealed", content=iter([b"word=kit", b"chen"]), headers=said)
    assert "Not one of them can be found" in word.text
    endless = (b"x" * 65536 for _ in range(64))
    assert httpx2.post(shared_server.url + "/sealed", content=endless, headers=said).status_code == 413


def test_static_files_keep_their_name_as_long_as_their_bytes(shared_server: Served) -> None:
    names = set(re.findall(r'"(/static/[^"]+)"', get(shared_server, "/").text))
    assert len(names) >= 6
    for name in names:
        answer = get(shared_server, name)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "set-cookie" not in answer.headers
        again = get(shared_server, name, **{"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for inside in re.findall(r'url\("([^"]+)"\)', answer.text if name.endswith(".css") else ""):
            assert get(shared_server, name.rpartition("/")[0] + "/" + inside).status_code == 200, inside
    style = next(name for name in names if "tokens" in name)
    assert get(shared_server, re.sub(r"\.[0-9a-f]{12}\.", ".000000000000.", style)).status_code == 404
    for name in ("web/tokens.css", "", "../settings.py", "%2e%2e/settings.py"):
        assert get(shared_server, f"/static/{name}").status_code == 404
    with httpx2.stream("GET", shared_server.url + style, headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert b"--paper" in gzip.decompress(b"".join(packed.iter_raw()))


def test_errors_say_what_to_do_in_the_voice_of_all_pages(shared_server: Served) -> None:
    missing = get(shared_server, "/no/such/page")
    assert missing.status_code == 404
    assert "There is no page here" in missing.text
    assert missing.headers["content-type"].startswith("text/html")
    forged = httpx2.post(shared_server.url + "/accounts/login", data={"login": "a@example.org"})
    assert forged.status_code == 403
    assert "That is not yours to open" in forged.text
    for answer in (missing, forged):
        assert "!" not in re.sub(r"<[^>]*>", "", answer.text)


def test_an_appearance_is_chosen_on_our_own_pages_only(shared_server: Served) -> None:
    def choose(choice: str, back: str = "/", **headers: str) -> httpx2.Response:
        data = {"appearance": choice, "next": back}
        return httpx2.post(shared_server.url + "/appearance", data=data, headers=headers)

    dark = choose("dark", "/editions")
    assert (dark.status_code, dark.headers["location"]) == (302, "/editions")
    cookie = dark.headers["set-cookie"]
    assert cookie.startswith("appearance=dark;")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert 'data-appearance="dark"' in get(shared_server, "/", Cookie="appearance=dark").text
    assert 'data-appearance="automatic"' in get(shared_server, "/", Cookie='appearance="><script>').text
    assert choose("dark", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert choose("dark", Origin="https://example.com").status_code == 403
    assert httpx2.get(shared_server.url + "/appearance").status_code == 405
    for elsewhere in ("https://example.com/", "//example.com/", "/\\example.com", "javascript:alert(1)", ""):
        assert choose("light", elsewhere).headers["location"] == "/"
