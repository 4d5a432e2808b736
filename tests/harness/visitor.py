"""A browser in which one only clicks: cookies, one button, redirects wherever they lead."""

import asyncio
import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request


class Browser:
    """Each has cookies of its own."""

    def __init__(self) -> None:
        self._cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._follows = urllib.request.build_opener(self._cookies)
        self._stays = urllib.request.build_opener(self._cookies, _Stay())

    async def get(self, url: str) -> tuple[int, str]:
        """Status and text of the page one ends at."""
        return await asyncio.to_thread(_open, self._follows, url, None)

    async def agree(self, url: str, **filled: str) -> tuple[int, str]:
        """Open a page, send its form, and go wherever one is sent."""
        form = _form((await self.get(url))[1], filled)
        return await asyncio.to_thread(_open, self._follows, url, form)

    async def sent_to(self, url: str, *, form: bool) -> str:
        """Where a page, or its form, leads, without going there; empty: nowhere."""
        sent = _form((await self.get(url))[1], {}) if form else None
        return await asyncio.to_thread(_location, self._stays, url, sent)

    async def connect(self, url: str) -> tuple[int, str]:
        """Open a link and agree."""
        status, text = await self.get(url)
        return (status, text) if status != 200 else await self.agree(url)


def _form(page: str, filled: dict[str, str]) -> bytes:
    """The hidden fields of a page's only form, and what is filled in."""
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    return urllib.parse.urlencode(hidden | filled).encode()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:  # type: ignore[override]
        return None


def _open(opener: urllib.request.OpenerDirector, url: str, form: bytes | None) -> tuple[int, str]:
    try:
        with opener.open(url, form, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def _location(opener: urllib.request.OpenerDirector, url: str, form: bytes | None) -> str:
    try:
        with opener.open(url, form, timeout=20):
            return ""
    except urllib.error.HTTPError as away:
        with away:
            return away.headers.get("location", "")
