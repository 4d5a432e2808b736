"""A browser of the plain kind: it keeps cookies, reads forms, sends them, and follows redirects within a site."""

import asyncio
import http.client
import secrets
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urljoin, urlsplit


@dataclass
class Form:
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Page:
    url: str
    status: int
    headers: dict[str, str]
    text: str

    @property
    def forms(self) -> list[Form]:
        reader = _Forms()
        reader.feed(self.text)
        return reader.forms

    def form(self, step: str) -> Form:
        return next(form for form in self.forms if form.fields.get("step") == step)

    @property
    def location(self) -> str:
        """Where it leads to, absolute."""
        return urljoin(self.url, self.headers.get("location", ""))


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert given.get("method") == "post"
            self.forms.append(Form())
        elif tag == "input" and given.get("name"):
            self.forms[-1].fields[given["name"]] = given.get("value", "")
        elif tag == "button" and given.get("name"):
            self.forms[-1].buttons.append((given["name"], given.get("value", "")))


class Browser:
    def __init__(self) -> None:
        self.address = f"127.{secrets.randbelow(255)}.{secrets.randbelow(255)}.{1 + secrets.randbelow(250)}"
        """Of its own, so that nobody else's attempts count as its."""
        self.cookies: dict[str, dict[str, str]] = {}
        """By origin."""

    async def open(self, url: str, *, stay_at: str = "") -> Page:
        """Follows redirects within the origin of `stay_at`, or of the URL: the last page may lead elsewhere."""
        origin = _origin(stay_at or url)
        page = await self._ask("GET", url, None)
        return await self._follow(page, origin)

    async def send(self, page: Page, step: str, decision: str = "", **filled: str) -> Page:
        """A form of the page, with its fields as filled in."""
        form = page.form(step)
        fields = {**form.fields, **filled}
        if decision:
            assert ("decision", decision) in form.buttons
            fields["decision"] = decision
        answer = await self._ask("POST", page.url, fields)
        return await self._follow(answer, _origin(page.url))

    async def _follow(self, page: Page, origin: str) -> Page:
        for _ in range(5):
            if page.status not in (302, 303) or _origin(page.location) != origin:
                break
            page = await self._ask("GET", page.location, None)
        return page

    async def _ask(self, verb: str, url: str, fields: dict[str, str] | None) -> Page:
        return await asyncio.to_thread(self._exchange, verb, url, fields)

    def _exchange(self, verb: str, url: str, fields: dict[str, str] | None) -> Page:
        parts = urlsplit(url)
        jar = self.cookies.setdefault(_origin(url), {})
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}
        body = None
        if fields is not None:
            body = urlencode(fields)
            headers |= {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=20, source_address=(self.address, 0)
        )
        try:
            connection.request(verb, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
            for name, value in response.getheaders():
                if name.lower() == "set-cookie":
                    for cookie in SimpleCookie(value).values():
                        jar[cookie.key] = cookie.value
            return Page(url, response.status, {k.lower(): v for k, v in response.getheaders()}, text)
        finally:
            connection.close()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
