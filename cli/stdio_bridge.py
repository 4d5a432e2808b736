"""`toolgate stdio`: MCP on standard input and output, bridged to a gateway's Streamable HTTP.

The client's first request settles the era. A session is begun, kept and begun again behind the client's back; nothing
but MCP is written to standard output.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

from cli.connection import default_tenant, mcp_connection, url_parts
from cli.failure import OK, USAGE, Failure
from cli.stdio_bridge_http import Away, Http, trusting
from cli.stdio_bridge_lanes import Lanes
from cli.stdio_bridge_pipes import Input, Output
from core.resource import NAME, NAME_RULE

FINISH_S = 1.0
"""After the client closed its side: for what is under way. Clients wait two seconds before they use force."""
DELETE_S = 0.5


def stdio(args: argparse.Namespace) -> int:
    """Until standard input ends, or a signal. Raises Failure."""
    url, key, ca_file = place(args)
    tls: ssl.SSLContext | None = None
    if url.startswith("https:"):
        try:
            tls = trusting(ca_file)
        except OSError as failure:
            raise Failure(USAGE, f"{ca_file}: cannot be used as PEM of whom to trust: {failure}") from failure
    return asyncio.run(_bridge(url, key, tls))


def place(args: argparse.Namespace) -> tuple[str, str, str]:
    """URL, key and whom to trust, from flags, environment and connection file. Raises Failure."""
    if args.key_file and args.key:
        raise Failure(USAGE, "--key and --key-file: give one")
    key_file = args.key_file or ("" if args.key else os.environ.get("TOOLGATE_API_KEY_FILE", ""))
    if key_file:
        try:
            args.key = Path(key_file).expanduser().read_text("utf-8").strip()
        except (OSError, ValueError) as failure:
            raise Failure(USAGE, f"--key-file {key_file}: cannot be read: {failure}") from failure
    name = args.endpoint or ""
    args.url = name if "://" in name else None
    found = mcp_connection(args)
    url = found.url if args.url or not name else _endpoint(found.url, name, default_tenant(args))
    return _narrowed(url, args.server) if args.server else url, found.key, found.ca_file


def _endpoint(url: str, name: str, tenant: str) -> str:
    """`name`: an endpoint's of the connection's tenant, or `tenant/endpoint`."""
    parts = [*([] if "/" in name else [tenant]), *name.split("/")]
    if not all(NAME.fullmatch(part) for part in parts) or len(parts) != 2:
        raise Failure(USAGE, f"--endpoint {name}: must be a URL, ENDPOINT or TENANT/ENDPOINT; a name {NAME_RULE}")
    return url_parts(url)._replace(path=f"/{parts[0]}/{parts[1]}/mcp", query="").geturl()


def _narrowed(url: str, server: str) -> str:
    """One server of the endpoint."""
    parts = url_parts(url)
    if not NAME.fullmatch(server) or not parts.path.endswith("/mcp") or "/servers/" in parts.path:
        raise Failure(USAGE, f"--server {server}: needs the URL of an endpoint, which ends in /mcp; a name {NAME_RULE}")
    return parts._replace(path=f"{parts.path.removesuffix('/mcp')}/servers/{server}/mcp").geturl()


async def _bridge(url: str, key: str, tls: ssl.SSLContext | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    http = Http(urlsplit(url), tls)
    async with Input() as lines, Output() as output:
        lanes = Lanes(http, key, output.write, lambda text: _say(f"{url}: {text}"))
        stopped = asyncio.ensure_future(stop.wait())
        gone = asyncio.ensure_future(output.gone.wait())
        reading = asyncio.ensure_future(_read(lines, lanes))
        try:
            await asyncio.wait({stopped, gone, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and not output.gone.is_set():
                reading.result()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FINISH_S):
                        await lanes.idle()
        finally:
            for task in (stopped, gone, reading):
                task.cancel()
            await lanes.close()
        with contextlib.suppress(TimeoutError, Away):
            async with asyncio.timeout(DELETE_S):
                await lanes.farewell()
        http.close()
    return OK


async def _read(lines: Input, lanes: Lanes) -> None:
    while (line := await lines.line()) is not None:
        await lanes.heard(line)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"toolgate stdio: {text}\n".encode())
