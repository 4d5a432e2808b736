"""TLS of the gateway's own listener: 1.3 and nothing older, with certificates that are renewed without a restart."""

import logging
import ssl
from pathlib import Path
from typing import Final

import msgspec

HANDSHAKE_S: Final = 5.0
"""A client that takes longer is hung up on: nothing of it is known yet, and it holds memory."""
LOOK_EVERY_S: Final = 1.0

_log = logging.getLogger("toolgate.front")


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files."""

    cert: str
    key: str
    client_ca: str = ""
    """Who signs agents' certificates: without one of theirs nobody is let in. Empty: none is asked for."""

    def context(self) -> ssl.SSLContext:
        """As the files are now. Raises OSError (which ssl.SSLError is) and ValueError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.cert, self.key)
        if self.client_ca:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def stamps(self) -> list[tuple[int, int]]:
        """Another when any of the files is another. Raises OSError."""
        states = [Path(name).stat() for name in (self.cert, self.key, self.client_ca) if name]
        return [(state.st_mtime_ns, state.st_ino) for state in states]


class Renewal:
    """Looks after the files of one listener."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises OSError where they cannot be used."""
        self._files = files
        self._seen = files.stamps()
        self._told = ""
        self.context = files.context()

    def look(self) -> bool:
        """Whether `context` is another now. Files that do not fit together, or are half written, change nothing."""
        try:
            stamps = self._files.stamps()
            if stamps == self._seen:
                return False
            self.context = self._files.context()
        except (OSError, ValueError) as failure:
            if str(failure) != self._told:
                _log.error("the certificate in force stays: its files cannot be used: %s", failure)
            self._told = str(failure)
            return False
        self._seen, self._told = stamps, ""
        _log.info("another certificate is in force")
        return True
