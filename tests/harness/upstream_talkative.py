"""A program on stdio that asks, tells and lets itself be listened to, by hand: `upstream_talkative.py legacy|modern`.

Tools: `ask` puts a question to the client and answers with what it is told; `hold` answers when `release` is called;
`tell` sends a notification first; `seen` says what the server knows. Any other method is answered with what it got.
"""

import json
import sys

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
SEEN = ("declared", "subscriptions", "cancelled", "methods")


class Server:
    def __init__(self, era: str) -> None:
        self.era = era
        self.declared: object = None
        self.subscriptions: list = []
        self.cancelled: list = []
        self.methods: list = []
        self.listening: list = []
        self.asked: dict = {}
        self.held: list = []

    def heard(self, message: dict) -> None:
        method = message.get("method")
        if method is None:
            self.say(self.asked.pop(message["id"]), text(message.get("result", message.get("error"))))
        elif "id" not in message:
            if method == "notifications/cancelled":
                self.cancelled.append(message["params"]["requestId"])
        else:
            self.methods.append(method)
            self.answer(message, method, message.get("params", {}))

    def answer(self, message: dict, method: str, params: dict) -> None:
        if method == "server/discover":
            if self.era == "legacy":
                send({"id": message["id"], "error": {"code": -32601, "message": "unknown method"}})
            else:
                self.say(message, {"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"})
        elif method == "initialize":
            self.declared = params["capabilities"]
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "t", "version": "1"}}
            self.say(message, result)
        elif method in ("resources/subscribe", "resources/unsubscribe"):
            {"resources/subscribe": self.subscriptions.append}.get(method, self.subscriptions.remove)(params["uri"])
            self.say(message, {})
        elif method == "subscriptions/listen":
            self.listening.append(message["id"])
            told = {"notifications": params["notifications"], "_meta": {SUBSCRIPTION: message["id"]}}
            send({"method": "notifications/subscriptions/acknowledged", "params": told})
        elif method == "tools/call":
            self.call(message, params["name"], params.get("arguments", {}))
        else:
            self.say(message, {"method": method, "params": params})

    def call(self, message: dict, name: str, arguments: dict) -> None:
        if name == "ask":
            number = f"q{len(self.methods)}"
            self.asked[number] = message
            send({"id": number, "method": arguments["method"], "params": arguments.get("params", {})})
        elif name == "input":
            self.say(message, {"resultType": "input_required", "requestState": "s", "inputRequests": arguments})
        elif name == "hold":
            self.held.append(message)
        elif name == "release":
            for held in [*self.held, message]:
                self.say(held, text("released"))
            self.held = []
        elif name == "tell":
            self.tell(arguments["method"], arguments.get("params", {}))
            self.say(message, text("told"))
        elif name == "end":
            send({"id": self.listening.pop(), "result": {"resultType": "complete"}})
            self.say(message, text("ended"))
        elif name == "seen":
            self.say(message, text({what: getattr(self, what) for what in SEEN}))

    def tell(self, method: str, params: dict) -> None:
        if self.era == "legacy":
            send({"method": method, "params": params})
        for number in self.listening:
            send({"method": method, "params": {**params, "_meta": {SUBSCRIPTION: number}}})

    def say(self, message: dict, result: dict) -> None:
        send({"id": message["id"], "result": result})


def text(value: object) -> dict:
    return {"content": [{"type": "text", "text": json.dumps(value)}]}


def send(message: dict) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


if __name__ == "__main__":
    server = Server(sys.argv[1])
    for line in sys.stdin:
        server.heard(json.loads(line))
