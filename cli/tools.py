"""`toolgate tools | prompts | resources | call`: what an agent sees and gets, through the gateway."""

import argparse
import json

from cli import json_given, output
from cli.connection import mcp_connection
from cli.failure import NEGATIVE, OK, REFUSED, USAGE, Failure
from cli.mcp_client import Json, McpClient

WIDTH = 80


def tools(args: argparse.Namespace) -> int:
    with McpClient(mcp_connection(args), args.timeout) as client:
        found = client.tools()
    output.show(args.output, {"tools": found}, (_row(t) for t in found), ("TOOL", "DESCRIPTION"))
    return OK


def prompts(args: argparse.Namespace) -> int:
    with McpClient(mcp_connection(args), args.timeout) as client:
        found = client.listed("prompts/list", "prompts")
    output.show(args.output, {"prompts": found}, (_row(p) for p in found), ("PROMPT", "DESCRIPTION"))
    return OK


def resources(args: argparse.Namespace) -> int:
    """Templates after the resources, as they are written."""
    with McpClient(mcp_connection(args), args.timeout) as client:
        listed = client.listed("resources/list", "resources")
        templates = client.listed("resources/templates/list", "resourceTemplates")
    rows = [*(_row(one, "uri") for one in listed), *(_row(one, "uriTemplate") for one in templates)]
    output.show(args.output, {"resources": listed, "resourceTemplates": templates}, rows, ("URI", "DESCRIPTION"))
    return OK


def call(args: argparse.Namespace) -> int:
    """Prints what the tool returned; 1 when the tool itself says it failed."""
    with McpClient(mcp_connection(args), args.timeout) as client:
        tool = next((t for t in client.tools() if t.get("name") == args.name), None)
        if tool is None:
            # Sent all the same: the gateway, not the client, says what a caller may use.
            tool = {"name": args.name, "inputSchema": {}}
        result = client.call(tool, arguments(args, tool.get("inputSchema")), _progress)
    if args.output == "table":
        _print_content(result)
    else:
        print(output.dumped(args.output, result), end="")
    if result.get("resultType") == "input_required":
        raise Failure(REFUSED, f"{args.name} asks its user for input, which this command cannot give")
    return NEGATIVE if result.get("isError") else OK


def arguments(args: argparse.Namespace, schema: object) -> Json:
    """`--json` first, then each `--arg`: `k=v` as the tool's schema types it, `k:=json` as given. Raises Failure."""
    made = json_given.object_(args.json, "--json") if args.json else {}
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    for given in args.arg:
        name, sign, text = given.partition("=")
        if not sign or not name.rstrip(":"):
            raise Failure(USAGE, f"--arg {given}: must read name=value or name:=json")
        if name.endswith(":"):
            made[name[:-1]] = json_given.value(text, f"--arg {given}")
        else:
            property_ = properties.get(name) if isinstance(properties, dict) else None
            made[name] = _typed(text, property_ if isinstance(property_, dict) else {}, given)
    return made


def _typed(text: str, property_: Json, given: str) -> object:
    kinds = _kinds(property_)
    if not kinds or "string" in kinds:
        return text
    try:
        return json_given.parse(text)
    except ValueError as failure:
        raise Failure(USAGE, f"--arg {given}: must be {' or '.join(sorted(kinds))}") from failure


def _kinds(property_: Json) -> set[str]:
    """The JSON types a property may have; empty: not said."""
    kinds = property_.get("type", [])
    found = {kinds} if isinstance(kinds, str) else {str(k) for k in kinds} if isinstance(kinds, list) else set()
    for choices in (property_.get("anyOf"), property_.get("oneOf")):
        for choice in choices if isinstance(choices, list) else ():
            found |= _kinds(choice) if isinstance(choice, dict) else set()
    return found


def _progress(method: str, params: Json) -> None:
    if method == "notifications/progress":
        total = f"/{params['total']}" if "total" in params else ""
        output.progress(f"... {params.get('progress', '')}{total} {params.get('message', '')}".rstrip())
    elif method == "notifications/message":
        output.progress(f"[{params.get('level', '')}] {params.get('data', '')}")


def _print_content(result: Json) -> None:
    content = result.get("content")
    blocks = content if isinstance(content, list) else []
    for block in blocks:
        if isinstance(block, dict) and block.get("type") == "text":
            print(output.plain(str(block.get("text", ""))))
        else:
            print(output.plain(json.dumps(block, ensure_ascii=False)))
    if not blocks and "structuredContent" in result:
        print(output.plain(json.dumps(result["structuredContent"], indent=2, ensure_ascii=False)))


def _row(entry: Json, key: str = "name") -> tuple[str, str]:
    first = str(entry.get("description") or "").strip().partition("\n")[0]
    return str(entry.get(key, "")), first if len(first) <= WIDTH else first[: WIDTH - 1] + "…"
