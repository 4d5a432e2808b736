"""A tenant's rules as OPA loads them: a signed bundle."""

import gzip
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from core.policy import RegoModules, Revision
from core.snapshot import PolicyData

ISSUER = "toolgate"
_SIGNATURES = ".signatures.json"
_MANIFEST = ".manifest"
_DATA = "data.json"
_MASK = "system/log/mask.rego"
"""What never leaves a sidecar in its decision log, by what the tenant keeps of inputs."""
_MASKED = {"off": ("/input",), "redacted": ("/input/args",), "arguments": ()}


class BundleSigner(Protocol):
    """Signs as OPA verifies: a JWT of the files' hashes."""

    key_id: str
    algorithm: str
    public_pem: str

    def sign(self, claims: Mapping[str, object]) -> str: ...


def bundle(
    tenant: str,
    revision: Revision,
    modules: RegoModules,
    data: PolicyData,
    signer: BundleSigner,
    *,
    clock: Callable[[], float] = time.time,
) -> bytes:
    """The gzipped tar."""
    files = {
        _MANIFEST: json.dumps({"revision": str(revision), "roots": [""], "rego_version": 1}).encode(),
        _DATA: data.data,
        _MASK: _mask(data.record),
        **{name: text.encode() for name, text in modules.files.items()},
    }
    hashes = [{"name": name, "hash": _hash(name, content), "algorithm": "SHA-256"} for name, content in files.items()]
    signed = signer.sign({"files": hashes, "iat": int(clock()), "iss": ISSUER, "scope": tenant})
    files[_SIGNATURES] = json.dumps({"signatures": [signed]}).encode()
    return _packed(files)


def _mask(record: str) -> bytes:
    lines = [f'mask contains "{path}"\n' for path in _MASKED[record]]
    return "\n".join(["package system.log\n", *lines]).encode()


def _hash(name: str, content: bytes) -> str:
    """Of JSON OPA hashes the value: members sorted, nothing between them, and text as its encoder escapes it."""
    if name in (_DATA, _MANIFEST):
        text = json.dumps(
            json.loads(content, parse_float=_no_float), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        content = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()
    return hashlib.sha256(content).hexdigest()


def _no_float(text: str) -> object:
    """The two languages write them differently, and the signature would not hold."""
    raise ValueError(f"{text}: a policy's data holds whole numbers only")


def _packed(files: Mapping[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()
