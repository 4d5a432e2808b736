"""A real browser without a window, driven over a pipe (Chrome DevTools Protocol): it clicks and types as people do."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
WAIT_S = 10.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # It speaks to this machine alone.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
)
_AS_3_AND_4 = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""The protocol's pipes have these numbers, which are somebody else's in our process."""


class Chromium:
    def __init__(self, reader: asyncio.StreamReader, pipe: int) -> None:
        self._reader = reader
        self._pipe = pipe
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}

    async def tab(self) -> "Tab":
        """With cookies of its own."""
        context = await self.ask("Target.createBrowserContext")
        made = await self.ask("Target.createTarget", url="about:blank", **context)
        session = (await self.ask("Target.attachToTarget", targetId=made["targetId"], flatten=True))["sessionId"]
        tab = self._tabs[session] = Tab(self, session)
        for what in ("Page.enable", "Log.enable", "Runtime.enable"):
            await self.ask(what, session)
        return tab

    async def ask(self, method: str, session: str = "", **params: object) -> dict[str, Any]:
        self._number += 1
        message = {
            "id": self._number,
            "method": method,
            "params": params,
            **({"sessionId": session} if session else {}),
        }
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        os.write(self._pipe, json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(WAIT_S):
            found = await answer
        assert "error" not in found, (method, found)
        return dict(found["result"])

    async def listen(self) -> None:
        """Until the browser is gone."""
        while True:
            try:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            except (asyncio.IncompleteReadError, OSError):
                return
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            elif message.get("sessionId") in self._tabs:
                self._tabs[message["sessionId"]].heard(message["method"], message["params"])


class Tab:
    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []
        """What the browser found wrong with pages: styles, forms and frames it would not have."""

    def heard(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Log.entryAdded" and params["entry"]["source"] == "security":
            self.complaints.append(params["entry"]["text"])

    async def open(self, url: str) -> None:
        self._loaded.clear()
        answer = await self._ask("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        await self._load(url)

    async def text(self) -> str:
        return str(await self.run("document.body.innerText"))

    async def url(self) -> str:
        return str(await self.run("location.href"))

    async def type(self, selector: str, text: str) -> None:
        """Into a field, in place of what is there."""
        await self.run(f"document.querySelector({json.dumps(selector)}).select()")
        await self._click(selector)
        await self.run(f"document.querySelector({json.dumps(selector)}).select()")
        await self._ask("Input.insertText", text=text)

    async def press(self, label: str) -> None:
        """The button that says so; until the page it leads to is there."""
        found = f"[...document.querySelectorAll('button')].findIndex(b => b.innerText.trim() === {json.dumps(label)})"
        number = await self.run(found)
        assert number >= 0, (label, await self.text())
        await self.run(f"document.querySelectorAll('button')[{number}].dataset.wanted = 'yes'")
        self._loaded.clear()
        await self._click("button[data-wanted]")
        await self._load(label)

    async def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, as a person with the page's console would see it."""
        answer = await self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def _click(self, selector: str) -> None:
        where = f"""(element => {{
            element.scrollIntoView()
            const box = element.getBoundingClientRect()
            return [box.x + box.width / 2, box.y + box.height / 2]
        }})(document.querySelector({json.dumps(selector)}))"""
        x, y = await self.run(where)
        for kind in ("mousePressed", "mouseReleased"):
            await self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def _load(self, what: str) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                await self._loaded.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: no page came; {self.complaints}; {await self.text()}") from None

    async def _ask(self, method: str, **params: object) -> dict[str, Any]:
        return await self._browser.ask(method, self._session, **params)


@asynccontextmanager
async def browsing() -> AsyncIterator[Chromium]:
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    assert program, "no chromium: run `bash tests/setup.sh chromium`"
    with TemporaryDirectory() as folder:
        theirs, ours = _pipe(), _pipe()
        command = [sys.executable, "-c", _AS_3_AND_4, str(theirs[0]), str(ours[1])]
        process = await asyncio.create_subprocess_exec(
            *command,
            *(program, *FLAGS, f"--user-data-dir={folder}"),
            pass_fds=(theirs[0], ours[1]),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs[0])
        os.close(ours[1])
        reader = asyncio.StreamReader(limit=2**24)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours[0], "rb")
        )
        browser = Chromium(reader, theirs[1])
        listening = asyncio.ensure_future(browser.listen())
        try:
            yield browser
        finally:
            # What was started may be a shell script that started the browser.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await listening
            transport.close()
            os.close(theirs[1])


def _pipe() -> tuple[int, int]:
    """Its ends, with numbers that are nobody's in a child."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
