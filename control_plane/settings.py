"""What the control plane is told from outside: TOOLGATE_* variables and flags, checked all at once.

A flag wins over its variable, a variable over the default. `OPTIONS` is the single list: the parser, the checks and the
table in docs/configuration.md come from it.
"""

import argparse
import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KEY_BYTES = 32


class SettingsRejected(Exception):
    """Every problem found, one per line, each naming the variable."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Option:
    """One setting. `parse` raises ValueError with the rule that is broken."""

    name: str
    parse: Callable[[str], object]
    default: str
    meaning: str
    flag: bool = True
    """False for secrets: a flag is visible to every process of the machine."""

    @property
    def variable(self) -> str:
        return f"TOOLGATE_{self.name.upper()}"

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True)
class Settings:
    """The control plane's settings. Paths are absolute."""

    data_dir: Path
    database_url: str
    """Empty: an embedded PostgreSQL below `data_dir`."""
    listen_address: str
    admin_port: int
    grpc_port: int
    tls_cert_file: Path | None
    tls_key_file: Path | None
    tls_client_ca_file: Path | None
    gateway_certificates: tuple[str, ...]
    """Globs over common names."""
    signing_key: bytes | None
    signing_key_file: Path | None
    trusted_keys: tuple[bytes, ...]
    """Raw Ed25519 public keys trusted besides the current one, while signing keys are changed."""
    kek: bytes | None
    kek_file: Path | None
    previous_keks: tuple[bytes, ...]
    """Opened with, never sealed with, while the key-encryption key is changed."""
    bootstrap_token_file: Path | None
    reset_bootstrap_token: bool
    node_token_file: Path | None
    opa: str
    """Path of the `opa` binary that compiles tenants' own Rego; empty: looked up in PATH."""
    drain_s: float
    log_level: str


def _text(text: str) -> str:
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError("must be a port, 0-65535; 0 takes a free one")
    return int(text)


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("must be a path")
    return Path(text).expanduser().absolute()


def _optional_path(text: str) -> Path | None:
    return _path(text) if text else None


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return text.lower() == "true"


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise ValueError("must be 0-3600 seconds")
    return value


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("must be debug, info, warning or error")
    return text.upper()


def key_bytes(text: str) -> bytes:
    """32 bytes from base64 or hexadecimal. Raises ValueError."""
    stripped = text.strip()
    try:
        raw = bytes.fromhex(stripped) if len(stripped) == 2 * KEY_BYTES else base64.b64decode(stripped, validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError("must be 32 bytes in base64 or hexadecimal")
    return raw


def _optional_key(text: str) -> bytes | None:
    return key_bytes(text) if text else None


def _keys(text: str) -> tuple[bytes, ...]:
    return tuple(key_bytes(part) for part in text.split(",") if part.strip())


def _globs(text: str) -> tuple[str, ...]:
    return tuple(glob.strip() for glob in text.split(",") if glob.strip())


def _database_url(text: str) -> str:
    if text and not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must start with postgresql://")
    return text


OPTIONS: tuple[Option, ...] = (
    Option("data_dir", _path, "data", "Keys, and the embedded PostgreSQL where no database is given"),
    Option(
        "database_url",
        _database_url,
        "",
        "PostgreSQL 15 or later, as `postgresql://...`; empty: an embedded one below the data directory",
        flag=False,
    ),
    Option("listen_address", _text, "127.0.0.1", "Address both servers listen on; `0.0.0.0` for all"),
    Option("admin_port", _port, "8081", "REST admin API, OpenAPI document, health and metrics"),
    Option("grpc_port", _port, "8082", "gRPC: the admin API and the fleet stream"),
    Option("tls_cert_file", _optional_path, "", "PEM certificate chain; with it both servers speak TLS only"),
    Option("tls_key_file", _optional_path, "", "PEM private key of the certificate"),
    Option(
        "tls_client_ca_file", _optional_path, "", "PEM of the authority gRPC clients' certificates must be signed by"
    ),
    Option(
        "gateway_certificates",
        _globs,
        "",
        "Common names (globs, separated by commas) whose client certificate makes a gateway; empty: a node token must",
    ),
    Option("signing_key", _optional_key, "", "Ed25519 private key, 32 bytes in base64 or hexadecimal", flag=False),
    Option(
        "signing_key_file",
        _optional_path,
        "",
        "The same, from a file; made as `<data_dir>/keys/signing.key` if neither is given",
    ),
    Option(
        "trusted_keys", _keys, "", "Further Ed25519 public keys gateways shall trust, separated by commas", flag=False
    ),
    Option("kek", _optional_key, "", "Key-encryption key for secrets, 32 bytes in base64 or hexadecimal", flag=False),
    Option(
        "kek_file", _optional_path, "", "The same, from a file; made as `<data_dir>/keys/kek.key` if neither is given"
    ),
    Option(
        "previous_keks",
        _keys,
        "",
        "Earlier key-encryption keys, to open what they sealed, separated by commas",
        flag=False,
    ),
    Option(
        "bootstrap_token_file",
        _optional_path,
        "",
        "Write the first admin token here (mode 0600) instead of printing it",
    ),
    Option(
        "reset_bootstrap_token",
        _flag,
        "false",
        "Make the first admin token anew and end the old one: for when it was lost",
    ),
    Option(
        "node_token_file", _optional_path, "", "Write a gateway's node token here (mode 0600) instead of printing it"
    ),
    Option("opa", _text, "", "The `opa` binary that compiles tenants' Rego; empty: the one in PATH"),
    Option("drain_s", _seconds, "10", "How long SIGTERM waits for requests in flight"),
    Option("log_level", _level, "info", "debug, info, warning or error"),
)


def parser(program: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(program, description="Run the control plane.", allow_abbrev=False)
    for option in OPTIONS:
        if option.flag:
            shown = f"{option.meaning} [{option.variable}, default: {option.default or 'none'}]".replace("%", "%%")
            made.add_argument(option.option, dest=option.name, metavar="VALUE", help=shown)
    return made


def read(arguments: Sequence[str], environment: Mapping[str, str], program: str = "toolgate control-plane") -> Settings:
    """Raises SettingsRejected; argparse itself exits with 2 for an unknown flag."""
    flags = vars(parser(program).parse_args(arguments))
    problems: list[str] = []
    values: dict[str, object] = {}
    for option in OPTIONS:
        given = flags.get(option.name)
        text = given if given is not None else environment.get(option.variable, option.default)
        try:
            values[option.name] = option.parse(text)
        except ValueError as failure:
            source = option.option if given is not None else option.variable
            problems.append(f"{source}: {failure}")
    problems += _together(values)
    if problems:
        raise SettingsRejected(problems)
    return Settings(**values)  # type: ignore[arg-type]


def _together(values: Mapping[str, object]) -> list[str]:
    problems = []
    if bool(values.get("tls_cert_file")) != bool(values.get("tls_key_file")):
        problems.append("TOOLGATE_TLS_CERT_FILE and TOOLGATE_TLS_KEY_FILE: give both or neither")
    if values.get("tls_client_ca_file") and not values.get("tls_cert_file"):
        problems.append("TOOLGATE_TLS_CLIENT_CA_FILE: needs TOOLGATE_TLS_CERT_FILE")
    problems += [
        f"TOOLGATE_{name.upper()} and TOOLGATE_{name.upper()}_FILE: give one"
        for name in ("signing_key", "kek")
        if values.get(name) and values.get(f"{name}_file")
    ]
    ports = (values.get("admin_port"), values.get("grpc_port"))
    if ports[0] == ports[1] != 0:
        problems.append("TOOLGATE_ADMIN_PORT and TOOLGATE_GRPC_PORT: must differ")
    for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file"):
        path = values.get(name)
        if isinstance(path, Path) and not path.is_file():
            problems.append(f"TOOLGATE_{name.upper()}: {path} is no file")
    return problems


def table() -> str:
    """The options as the Markdown table docs/configuration.md holds."""
    rows = ["| variable | flag | default | meaning |", "|---|---|---|---|"]
    for option in OPTIONS:
        flag = f"`{option.option}`" if option.flag else "-"
        default = f"`{option.default}`" if option.default else "none"
        rows.append(f"| `{option.variable}` | {flag} | {default} | {option.meaning} |")
    return "\n".join(rows)
