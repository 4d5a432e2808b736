"""A shop, as any team would write one with the official SDK: `python -m cli.demo.shop_server PORT`.

It knows nothing of Toolgate. It answers with a card number as such servers do; masking it is the gateway's job.
"""

import asyncio
import json
import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

CUSTOMERS = {
    "C-1001": "Ada Lovelace, ada@example.com, card 4111 1111 1111 1111, exp 12/29, London",
    "C-1002": "Grace Hopper, grace@example.com, card 5500-0000-0000-0004, exp 03/30, New York",
    "C-1003": "Alan Turing, alan@example.com, card 340000000000009, exp 07/28, Manchester",
}
ORDERS = (
    ("O-501", "C-1001", "delivered", "difference engine kit", 249.00),
    ("O-502", "C-1002", "shipped", "compiler handbook", 39.50),
    ("O-503", "C-1001", "open", "punched cards, box of 500", 18.75),
    ("O-504", "C-1003", "delivered", "enigma puzzle", 64.00),
)

server = MCPServer("shop", instructions="Customers and orders of a small shop. Amounts are in euros.")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look_up_customer(customer_id: str) -> str:
    """What the shop knows of a customer, such as C-1001."""
    known = CUSTOMERS.get(customer_id)
    if known is None:
        raise ToolError(f"there is no customer {customer_id}")
    return f"{customer_id}: {known}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def search_orders(text: str = "", status: str = "") -> list[dict[str, str | float]]:
    """Orders whose article or customer contains the text, and that have the status (open, shipped, delivered)."""
    return [
        {"order": order, "customer": customer, "status": state, "article": article, "amount": amount}
        for order, customer, state, article, amount in ORDERS
        if text.lower() in f"{article} {customer}".lower() and status in ("", state)
    ]


@server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True))
def refund_order(order_id: str, amount: float) -> str:
    """Pay an order back. Cannot be undone."""
    paid = {order: total for order, _, _, _, total in ORDERS}.get(order_id)
    if paid is None:
        raise ToolError(f"there is no order {order_id}")
    if not 0 < amount <= paid:
        raise ToolError(f"the amount must be above 0 and at most {paid:.2f}")
    return f"refunded {amount:.2f} of {order_id}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def sales_report(ctx: Context, months: int = 3) -> str:
    """Sales by month, adding them up one month at a time and telling how far it is."""
    total = 0.0
    for month in range(1, months + 1):
        await ctx.report_progress(month, months, f"month {month}")
        await asyncio.sleep(0.05)
        total += sum(amount for *_, amount in ORDERS)
    return f"{total:.2f} in {months} months"


@server.resource("shop://policy/refunds", title="Refund policy", mime_type="text/markdown")
def refund_policy() -> str:
    """Who may refund what, and until when."""
    return "# Refunds\n\nWithin 30 days, up to the amount paid. Only support leads refund."


@server.resource("shop://orders/{order_id}", title="An order", mime_type="application/json")
def order(order_id: str) -> str:
    """One order by its number, such as O-501."""
    found = next((row for row in ORDERS if row[0] == order_id), None)
    if found is None:
        raise ValueError(f"there is no order {order_id}")
    return json.dumps(dict(zip(("order", "customer", "status", "article", "amount"), found, strict=True)))


@server.prompt(title="Answer a customer")
def answer_customer(customer_id: str, question: str) -> str:
    """A friendly answer to a customer's question, from what the shop knows."""
    return f"Look up customer {customer_id} and their orders, then answer briefly and kindly: {question}"


if __name__ == "__main__":
    asyncio.run(server.run_streamable_http_async(port=int(sys.argv[1])))
