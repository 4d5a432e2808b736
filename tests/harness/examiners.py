"""A classifier and a Presidio analyzer as small real HTTP servers, with answers of the tests' own.

The second speaks the REST API of presidio-analyzer (`POST /analyze`), and finds what it is told to find.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Json = dict[str, object]


class Examiners:
    """What the server says, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, Json, dict[str, str]]] = []
        """Path, body and headers."""
        self.score: Callable[[str], float] = lambda _: 0.0
        self.names: dict[str, str] = {}
        """Text to the entity it is one of."""
        self.sure = 0.85
        self.status = 200
        self.raw: bytes | None = None
        """Instead of any answer."""
        self.hold: threading.Event | None = None
        """Every answer waits for it."""

    def answer(self, path: str, body: Json) -> object:
        text = str(body["text"])
        if path == "/classify":
            return {"score": self.score(text)}
        return [
            {"start": m.start(), "end": m.end(), "entity_type": kind, "score": self.sure, "analysis_explanation": None}
            for name, kind in self.names.items()
            for m in re.finditer(re.escape(name), text)
        ]


@contextmanager
def examining() -> Iterator[Examiners]:
    """A server on loopback; `/classify` and `/analyze`."""
    said = Examiners()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said.asked.append((self.path, body, dict(self.headers)))
            if said.hold is not None:
                said.hold.wait(10)
            answer = json.dumps(said.answer(self.path, body)).encode() if said.raw is None else said.raw
            self.send_response(said.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    said.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield said
    finally:
        if said.hold is not None:
            said.hold.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
