"""A program with the harness's tools over stdio, made with the official SDK, or one that misbehaves as told.

    python -m tests.harness.upstream_stdio [MODE]

Modes: `sdk` (default): the tools of `upstream_sdk` and some that show the process from inside. The others speak a
minimal legacy MCP by hand, without the SDK's start-up time.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time


def main(mode: str) -> None:
    if mode == "sdk":
        sdk()
    elif mode == "dies":
        sys.exit(3)
    elif mode == "mute":
        for _ in sys.stdin:
            pass
    else:
        by_hand(mode)


def sdk() -> None:
    from tests.harness.upstream_sdk import Seen, make

    make(Seen()).run("stdio")


def by_hand(mode: str) -> None:
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cancelled: list[object] = []
    while True:
        line = sys.stdin.readline()
        if not line:
            if mode == "stubborn":
                signal.pause()
            return
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled":
            cancelled.append(message["params"]["requestId"])
            continue
        if "id" in message:
            answer(mode, message, cancelled)


def answer(mode: str, message: dict, cancelled: list) -> None:
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        say(message, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": mode}})
    elif method == "server/discover":
        if mode != "slow_to_refuse":
            fail(message, -32601, "unknown method")
    elif method == "tools/list":
        say(message, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call":
        text = TOOLS[params["name"]](params.get("arguments", {}), cancelled)
        if text is not None:
            say(message, {"content": [{"type": "text", "text": text}]})


def garbage(arguments: dict, cancelled: list) -> str:
    print("this is no JSON", flush=True)
    print('{"jsonrpc":"2.0","id":999999,"result":{}}', flush=True)
    return "after the garbage"


def offspring(arguments: dict, cancelled: list) -> str:
    """Starts grandchildren that ignore everything but SIGKILL: one in the group, one in a session of its own."""
    program = "import signal,time\nsignal.signal(15,signal.SIG_IGN)\nprint('ready',flush=True)\ntime.sleep(600)"
    pids = []
    for own_session in (False, True):
        child = subprocess.Popen(
            [sys.executable, "-c", program],
            start_new_session=own_session,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        child.stdout.readline()  # type: ignore[union-attr]
        pids.append(child.pid)
    return json.dumps(pids)


def daemon(arguments: dict, cancelled: list) -> str:
    """Starts a process as daemons start themselves: in a session of its own, its parent gone."""
    read, write = os.pipe()
    middle = os.fork()
    if not middle:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        os.write(write, b"%d" % os.getpid())
        time.sleep(600)
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(write)
    return os.read(read, 32).decode()


def limits(arguments: dict, cancelled: list) -> str:
    which = ("RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_NOFILE", "RLIMIT_CORE")
    return json.dumps({name: resource.getrlimit(getattr(resource, name))[0] for name in which})


def process(arguments: dict, cancelled: list) -> str:
    return json.dumps(
        {
            "pid": os.getpid(),
            "sid": os.getsid(0),
            "environment": dict(os.environ),
            "cwd": os.getcwd(),
            "files": sorted(os.listdir("/proc/self/fd")),
        }
    )


def complain(arguments: dict, cancelled: list) -> str:
    print(arguments["text"], file=sys.stderr, flush=True)
    return "said"


def eat(arguments: dict, cancelled: list) -> str:
    try:
        return str(len(bytearray(arguments["bytes"])))
    except MemoryError:
        return "no memory"


TOOLS = {
    "echo": lambda arguments, _: arguments.get("text", ""),
    "hang": lambda *_: None,
    "crash": lambda *_: os._exit(9),
    "cancelled": lambda _, cancelled: json.dumps(cancelled),
    "complain": complain,
    "big": lambda arguments, _: "x" * arguments["size"],
    "garbage": garbage,
    "offspring": offspring,
    "daemon": daemon,
    "limits": limits,
    "process": process,
    "eat": eat,
}


def say(message: dict, result: dict) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


def fail(message: dict, code: int, text: str) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text}}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sdk")
