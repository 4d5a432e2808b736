"""Manifests: YAML or JSON documents with the line of every field, so that a problem can say where it is."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from cli.failure import USAGE, Failure

SUFFIXES = (".yaml", ".yml", ".json")
MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 100
"""As deep as the control plane takes a spec."""
MAX_NODES = 500_000
"""Anchors can make a small file a huge document."""


_HALF = re.compile("[\ud800-\udfff]")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LAST_STEP = re.compile(r"(\[\d+\]|\[\"[^\"]*\"\]|\.?[A-Za-z0-9_-]+|.)$", re.DOTALL)


@dataclass
class Document:
    """One document as it stands in a file. `lines`: the line of each field, by path as in `core.resource.Problem`."""

    source: str
    value: object
    lines: dict[str, int]
    problems: list[tuple[int, str]] = field(default_factory=list)
    """(line, what is wrong) found while reading."""

    def line(self, path: str) -> int:
        """The line of the field, or of the nearest one around it."""
        while path and path not in self.lines:
            path = _LAST_STEP.sub("", path)
        return self.lines.get(path, 1)


def read(sources: list[str]) -> list[Document]:
    """All documents of files, folders (their manifests, sorted) and `-` (standard input). Raises Failure."""
    return [document for name, text in _texts(sources) for document in parse(name, text)]


def parse(name: str, text: str) -> Iterator[Document]:
    """The documents of one text; a list, or an object with `resources`, stands for its items. Raises Failure."""
    if "\t" in text and (name.endswith(".json") or _is_json(text)):
        text = text.replace("\t", " ")  # JSON allows tabs between tokens, YAML does not; strings of JSON hold none
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            if node is not None and node.tag != "tag:yaml.org,2002:null":
                yield from (_document(name, item) for item in _items(node))
    except RecursionError as failure:
        raise Failure(USAGE, f"{name}: is nested too deeply: at most {MAX_DEPTH} levels") from failure
    except yaml.YAMLError as failure:
        mark = getattr(failure, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        if isinstance(failure, yaml.reader.ReaderError):
            where = f"{name}:{text.count(chr(10), 0, failure.position) + 1}"
            failure.problem = f"the character U+{_code(failure.character):04X} has no place in a manifest"  # type: ignore[attr-defined]
        problem = getattr(failure, "problem", None) or str(failure)
        raise Failure(USAGE, f"{where}: is not YAML or JSON: {problem}") from failure


def _code(character: object) -> int:
    return character if isinstance(character, int) else ord(str(character)[:1] or "\0")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _texts(sources: list[str]) -> Iterator[tuple[str, str]]:
    for source in sources:
        if source == "-":
            yield "-", _decoded("-", sys.stdin.buffer.read(MAX_BYTES + 1))
            continue
        path = Path(source)
        files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES) if path.is_dir() else [path]
        if not files:
            raise Failure(USAGE, f"{source}: holds no {', '.join(SUFFIXES)} file")
        for file in files:
            try:
                with file.open("rb") as opened:
                    read = opened.read(MAX_BYTES + 1)
            except OSError as failure:
                raise Failure(USAGE, f"{file}: cannot be read: {failure.strerror}") from failure
            yield str(file), _decoded(str(file), read)


def _decoded(name: str, read: bytes) -> str:
    """Text with or without a byte order mark, its lines ended in any way. Raises Failure."""
    if len(read) > MAX_BYTES:
        raise Failure(USAGE, f"{name}: is larger than {MAX_BYTES} bytes")
    try:
        return read.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as failure:
        line = read.count(b"\n", 0, failure.start) + 1
        raise Failure(USAGE, f"{name}:{line}: is not UTF-8 text; save it as UTF-8") from failure


def _items(node: Node) -> Iterator[Node]:
    if isinstance(node, SequenceNode):
        yield from node.value
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == "resources" and isinstance(value, SequenceNode):
                yield from value.value
                return
        yield node
    else:
        yield node


def _document(name: str, node: Node) -> Document:
    reader = _Reader(name)
    value = reader.value(node, "")
    return Document(name, value, reader.lines, reader.problems)


class _Reader:
    """Turns nodes into JSON values, noting lines and what YAML would have let pass."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.lines: dict[str, int] = {}
        self.problems: list[tuple[int, str]] = []
        self._scalars = yaml.constructor.SafeConstructor()
        self._nodes = 0
        self._depth = 0

    def value(self, node: Node, path: str) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Failure(USAGE, f"{self._name}: the document is larger than {MAX_NODES} values")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            line = node.start_mark.line + 1
            raise Failure(USAGE, f"{self._name}:{line}: the document is nested deeper than {MAX_DEPTH} levels")
        value = self._mapping(node, path) if isinstance(node, MappingNode) else self._sequence(node, path)
        self._depth -= 1
        return value

    def _sequence(self, node: Node, path: str) -> list[object]:
        return [self.value(item, f"{path}[{i}]") for i, item in enumerate(node.value)]

    def _mapping(self, node: MappingNode, path: str) -> dict[str, object]:
        explicit = [k.value for k, _ in node.value if k.tag != "tag:yaml.org,2002:merge"]
        self._scalars.flatten_mapping(node)
        members: dict[str, object] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                self.problems.append((line, f"{path or 'document'}: the key {key.value!r} must be quoted text"))
                continue
            name = self._whole(key, path or "document")
            below = _member(path, name)
            if name in members and explicit.count(key.value) > 1:
                self.problems.append((line, f"{below}: is there twice"))
            self.lines[below] = line
            members[name] = self.value(item, below)
        return members

    def _whole(self, node: ScalarNode, path: str) -> str:
        """JSON writes what is beyond 16 bits as two escapes, which YAML reads as two halves."""
        text = str(node.value)
        if not _HALF.search(text):
            return text
        joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        if _HALF.search(joined):
            self.problems.append((node.start_mark.line + 1, f"{path}: must not hold half a surrogate pair"))
        return _HALF.sub("\N{REPLACEMENT CHARACTER}", joined)

    def _scalar(self, node: ScalarNode, path: str) -> object:
        try:
            value = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as failure:
            line = node.start_mark.line + 1
            self.problems.append((line, f"{path}: is not a plain value: {getattr(failure, 'problem', failure)}"))
            return None
        if isinstance(value, str):
            return self._whole(node, path)
        if isinstance(value, datetime | date):
            return node.value  # YAML reads unquoted times; specs want them as text
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            self.problems.append((node.start_mark.line + 1, f"{path}: is too large a number"))
            return None
        if isinstance(value, int | float | bool) or value is None:
            return value
        self.problems.append((node.start_mark.line + 1, f"{path}: {node.tag} has no place in JSON"))
        return None


def _member(path: str, key: str) -> str:
    """The path of a member, as `core.validate` writes it."""
    if not path:
        return key
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f'{path}["{key[:128]}"]'
