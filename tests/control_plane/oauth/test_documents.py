"""Clients known by a document: fetched from a real server over TLS, or not at all."""

import asyncio
import json
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adapters.web.client import WebClient
from control_plane.oauth.documents import FETCHED_AT_ONCE, REFUSED_S, Documents, url_fault
from core.bound import SHARE, Bound
from core.oauth.errors import OAuthError
from core.web import Answer, Request, Unreachable
from tests.control_plane.oauth.conftest import Issuer
from tests.harness.browser import Browser
from tests.harness.certificates import Authority

ADDRESS = "192.0.2.1"


class Site:
    """A web server with one document."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder, "authority")
        certificate, key = authority.issue("site")
        self.ca_pem = authority.file.read_text()
        self.status, self.headers, self.asked = 200, {"content-type": "application/json"}, 0
        self.body = b""
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked += 1
                self.send_response(site.status)
                for name, value in site.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(site.body)))
                self.end_headers()
                self.wfile.write(site.body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}/client.json"
        self.about: dict[str, object] = {
            "client_id": self.url,
            "client_name": "Editor",
            "redirect_uris": ["http://127.0.0.1/cb"],
        }
        self.says()

    def says(self, **changed: object) -> None:
        self.body = json.dumps({name: v for name, v in {**self.about, **changed}.items() if v is not None}).encode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()
    thread.join(5)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def documents(site: Site, clock: Clock) -> AsyncIterator[Documents]:
    web = WebClient()
    yield Documents(web, allow_private=True, ca_pem=site.ca_pem, clock=clock)
    web.close()


async def refusal(documents: Documents, url: str) -> str:
    with pytest.raises(OAuthError) as refused:
        await documents.client(url, ADDRESS)
    assert refused.value.code == "invalid_client"
    return refused.value.description


async def test_a_client_is_what_its_document_says(documents: Documents, site: Site) -> None:
    client = await documents.client(site.url, ADDRESS)
    assert (client.client_id, client.name, client.source) == (site.url, "Editor", "document")
    assert client.auth_methods == ("none",)
    assert client.redirects_to("http://127.0.0.1:5000/cb")
    assert client.agent == ""


async def test_it_is_fetched_once_for_as_long_as_it_says(documents: Documents, site: Site, clock: Clock) -> None:
    site.headers["cache-control"] = "public, max-age=120"
    clients = await asyncio.gather(*(documents.client(site.url, ADDRESS) for _ in range(10)))
    assert len(set(map(id, clients))) == 1
    clock.now += 119
    await documents.client(site.url, ADDRESS)
    assert site.asked == 1
    clock.now += 2
    site.says(client_name="Renamed")
    assert (await documents.client(site.url, ADDRESS)).name == "Renamed"
    assert site.asked == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "https://else.example.com/client.json"},
        {"client_id": None},
        {"redirect_uris": []},
        {"redirect_uris": ["http://app.example.com/"]},
        {"redirect_uris": "http://127.0.0.1/cb"},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"grant_types": ["client_credentials"]},
    ],
)
async def test_a_document_that_is_not_right_makes_no_client(
    documents: Documents, site: Site, changed: dict[str, object]
) -> None:
    site.says(**changed)
    assert "the client's metadata document" in await refusal(documents, site.url)


@pytest.mark.parametrize("what", ["redirect", "missing", "text", "large"])
async def test_what_is_no_document_makes_no_client(documents: Documents, site: Site, clock: Clock, what: str) -> None:
    if what == "redirect":
        site.status, site.headers["location"] = 302, site.url + "?x"
    elif what == "missing":
        site.status = 404
    else:
        site.body = b"<html>" if what == "text" else site.body + b" " * 70_000
    await refusal(documents, site.url)
    asked = site.asked
    await refusal(documents, site.url)
    assert site.asked == asked
    clock.now += REFUSED_S + 1
    site.status = 200
    site.says()
    assert (await documents.client(site.url, ADDRESS)).name == "Editor"


async def test_addresses_inside_are_not_asked(site: Site) -> None:
    web = WebClient()
    documents = Documents(web, ca_pem=site.ca_pem)
    assert "cannot be fetched" in await refusal(documents, site.url)
    assert "cannot be fetched" in await refusal(documents, "https://169.254.169.254/latest/meta-data")
    assert site.asked == 0
    web.close()


async def test_an_address_has_some_fetched_a_minute(documents: Documents, site: Site, clock: Clock) -> None:
    await documents.client(site.url, ADDRESS)
    for n in range(19):
        await refusal(documents, f"{site.url}?{n}")
    asked = site.asked
    with pytest.raises(OAuthError) as refused:
        await documents.client(f"{site.url}?19", ADDRESS)
    assert refused.value.code == "slow_down"
    assert site.asked == asked
    await documents.client(site.url, ADDRESS)
    with pytest.raises(OAuthError) as other:
        await documents.client(f"{site.url}?19", "192.0.2.2")
    assert (other.value.code, site.asked) == ("invalid_client", asked + 1)
    clock.now += 2
    await refusal(documents, f"{site.url}?20")


class Waiting:
    """A web in which no host answers before it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.bound = Bound(0, 1)

    async def fetch(self, request: Request) -> Answer:
        await self.may_answer.wait()
        raise Unreachable(request.url)


async def test_an_address_has_a_fourth_fetched_at_once_and_leaves_others_the_rest(clock: Clock) -> None:
    web = Waiting()
    documents = Documents(web, clock=clock)

    async def begun(n: int, address: str) -> asyncio.Task[object]:
        task: asyncio.Task[object] = asyncio.create_task(documents.client(f"https://a{n}.example/c", address))
        await asyncio.wait({task}, timeout=0)
        return task

    tasks = [await begun(n, "2001:db8::1") for n in range(FETCHED_AT_ONCE // SHARE)]
    with pytest.raises(OAuthError) as refused:
        await documents.client("https://more.example/c", "2001:db8::2")
    assert refused.value.code == "slow_down", "of the same subscriber"
    tasks.append(await begun(99, ADDRESS))
    assert not any(task.done() for task in tasks)
    web.may_answer.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {getattr(end, "code", "") for end in ends} == {"invalid_client"}
    again = await begun(100, "2001:db8::2")
    with pytest.raises(OAuthError, match="cannot be fetched"):
        await again


async def test_who_has_documents_fetched_is_counted_at_every_endpoint(issuer: Issuer) -> None:
    form = b"grant_type=refresh_token&client_id=https%3A%2F%2F127.0.0.1%3A1%2F"
    source = Browser().address

    async def ask(n: int, source: str) -> int:
        path, media = f"/oauth/{issuer.tenant}/token", "application/x-www-form-urlencoded"
        answer = await issuer.plane.http(
            "POST", path, token="", raw=form + b"%d" % n, source=source, content_type=media
        )
        return answer.status

    assert [await ask(n, source) for n in range(20)] == [401] * 20
    assert await ask(20, source) == 429
    assert await ask(21, Browser().address) == 401


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example.com/client.json",
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com/../client.json",
        "https://app.example.com/./client.json",
        "https://user@app.example.com/client.json",
        "https://app.example.com/client.json#x",
        "https:///client.json",
    ],
)
def test_a_client_id_is_a_url_with_a_path(url: str) -> None:
    assert url_fault(url)
    assert not url_fault("https://app.example.com/oauth/client.json?v=1")
