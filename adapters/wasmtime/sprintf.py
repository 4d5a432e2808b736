"""Rego's `sprintf`: Go's fmt verbs over the types OPA hands it (int, float, string; all else as its Rego text)."""

import json
import re
from collections.abc import Callable
from decimal import Decimal

_DIRECTIVE = re.compile(r"%(?P<flags>[+\-# 0]*)(?P<width>\d*)(?:\.(?P<precision>\d*))?(?P<verb>.?)", re.DOTALL)

WIDEST = 1000
"""Of a width or a precision: the host formats outside the guest's memory cap."""

_INTS: dict[str, Callable[[int], str]] = {
    "v": str,
    "d": str,
    "x": lambda n: f"{n:x}",
    "X": lambda n: f"{n:X}",
    "o": lambda n: f"{n:o}",
    "b": lambda n: f"{n:b}",
}


def sprintf(template: str, arguments: list[object]) -> str:
    """Raises ValueError for a width or precision above WIDEST, or given as `*`."""
    rest = [_argument(value) for value in arguments]
    out: list[str] = []
    end = 0
    for directive in _DIRECTIVE.finditer(template):
        out.append(template[end : directive.start()])
        end = directive.end()
        out.append(_one(directive, rest))
    out.append(template[end:])
    if rest:
        extra = ", ".join(f"{_go_type(value)}={_plain(value)}" for value in rest)
        out.append(f"%!(EXTRA {extra})")
    return "".join(out)


def _one(directive: re.Match[str], rest: list[int | float | str]) -> str:
    verb = directive["verb"]
    if verb == "%":
        return "%"
    if verb in ("*", "["):
        raise ValueError("sprintf: '*' and '[' are not supported")
    if not verb:
        return "%!(NOVERB)"
    if not rest:
        return f"%!{verb}(MISSING)"
    width = int(directive["width"] or 0)
    precision = None if directive["precision"] is None else int(directive["precision"] or 0)
    if width > WIDEST or (precision or 0) > WIDEST:
        raise ValueError(f"sprintf: wider than {WIDEST}")
    value = rest.pop(0)
    text = _text(verb, value, precision, directive["flags"])
    if text is None:
        return f"%!{verb}({_go_type(value)}={_plain(value)})"
    return _padded(text, width, directive["flags"], numeric=not isinstance(value, str))


def _text(verb: str, value: float | str, precision: int | None, flags: str) -> str | None:
    """None: the verb is not for this type."""
    if isinstance(value, str):
        return _string_text(verb, value, precision)
    text = _int_text(verb, value) if isinstance(value, int) else _float_text(verb, value, precision)
    if text is None or text.startswith("-"):
        return text
    return "+" + text if "+" in flags else " " + text if " " in flags else text


def _string_text(verb: str, value: str, precision: int | None) -> str | None:
    value = value if precision is None else value[:precision]
    match verb:
        case "s" | "v":
            return value
        case "q":
            return json.dumps(value, ensure_ascii=False)
        case "x" | "X":
            digits = value.encode().hex()
            return digits.upper() if verb == "X" else digits
        case _:
            return None


def _int_text(verb: str, value: int) -> str | None:
    if verb == "c":
        return chr(value) if 0 <= value < 0x110000 else "�"
    form = _INTS.get(verb)
    return form(value) if form is not None else None


def _float_text(verb: str, value: float, precision: int | None) -> str | None:
    if verb in ("f", "F", "e", "E"):
        return f"{value:.{6 if precision is None else precision}{verb}}"
    if verb not in ("v", "g", "G"):
        return None
    if precision is not None:
        return f"{value:.{precision}{'G' if verb == 'G' else 'g'}}"
    shortest = Decimal(repr(value)).normalize()
    # strconv.FormatFloat, format 'g' with the fewest digits: an exponent from 10^6 up and below 10^-4.
    if -5 < shortest.adjusted() < 6:
        return f"{shortest:f}"
    digits = "".join(map(str, shortest.as_tuple().digits))
    sign = "-" if value < 0 else ""
    exponent = shortest.adjusted()
    return (
        f"{sign}{digits[0]}{'.' + digits[1:] if digits[1:] else ''}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    )


def _padded(text: str, width: int, flags: str, *, numeric: bool) -> str:
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags:
        return text.zfill(width) if numeric else text.rjust(width, "0")
    return text.rjust(width)


def _argument(value: object) -> int | float | str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return rego_text(value)


def rego_text(value: object) -> str:
    """How OPA writes a value. Sets have become arrays on their way here."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{rego_text(k)}: {rego_text(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(rego_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _go_type(value: float | str) -> str:
    return {str: "string", int: "int64", float: "float64"}[type(value)]


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else _text("v", value, None, "") or ""
