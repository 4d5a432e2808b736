"""Objects are kept whole, whatever keeps them: a folder, and an S3-compatible server of its own process."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from adapters.files.objects import FileObjects
from adapters.s3.objects import S3Objects
from core.objects import Objects, ObjectsAway

SERVER = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """Of a server with a bucket `audit`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    urlopen(Request(f"{url}/audit", method="PUT"), timeout=5).close()
                    break
                except (URLError, ConnectionError):
                    assert time.monotonic() < deadline, "the S3 server never came"
                    assert server.poll() is None, "the S3 server died"
                    time.sleep(0.05)
            yield url
        finally:
            server.terminate()


@pytest.fixture(params=["files", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    if request.param == "files":
        return FileObjects(tmp_path / "objects")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return S3Objects("audit", f"p{os.getpid()}/{tmp_path.name}", request.getfixturevalue("s3_url"), "us-east-1")


async def test_what_is_put_is_got(objects: Objects) -> None:
    data = bytes(range(256)) * 4096
    await objects.put("audit/acme/rows/1.gz", data)
    assert await objects.get("audit/acme/rows/1.gz") == data
    await objects.put("audit/acme/rows/1.gz", b"other")
    assert await objects.get("audit/acme/rows/1.gz") == b"other"
    await objects.put("empty", b"")
    assert await objects.get("empty") == b""


async def test_what_is_not_there_is_none_and_may_be_deleted(objects: Objects) -> None:
    assert await objects.get("nothing/here") is None
    await objects.delete("nothing/here")
    await objects.put("a/b", b"x")
    await objects.delete("a/b")
    assert await objects.get("a/b") is None


async def test_writers_of_one_name_leave_one_of_their_objects(objects: Objects) -> None:
    wrote = [bytes([n]) * 100_000 for n in range(8)]
    await asyncio.gather(*(objects.put("same", data) for data in wrote))
    assert await objects.get("same") in wrote


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a//b", "a/../b", "", "a/.hidden", "a b"])
async def test_a_name_that_leads_elsewhere_is_a_bug(objects: Objects, name: str) -> None:
    for ask in (objects.get(name), objects.delete(name), objects.put(name, b"")):
        with pytest.raises(ValueError):
            await ask


async def test_a_store_that_is_not_there_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    (tmp_path / "file").write_text("in the way")
    for store in (S3Objects("audit", "", "http://127.0.0.1:9", "us-east-1"), FileObjects(tmp_path / "file")):
        with pytest.raises(ObjectsAway):
            await store.put("a", b"")


async def test_a_bucket_that_is_not_there_is_away_and_no_secret_is_told(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    with pytest.raises(ObjectsAway) as away:
        await S3Objects("nowhere", "", s3_url, "us-east-1").put("a", b"")
    assert "NoSuchBucket" in str(away.value)
    assert "s3cret" not in str(away.value)
