"""Callers' tokens exchanged for others, at the endpoints their servers name: one request or two, and what they answer.

It is the node that asks and not the control plane: it has the caller's token already, which goes to one place less so,
and a caller can begin to use a server while the control plane is away.
"""

import logging
import secrets
import time
from collections.abc import Callable

from core import exchange
from core import oauth_client as oauth
from core.exchange import Declined, Request, Wanted
from core.oauth_client import NotBelieved, Prover, TokenAnswer
from core.snapshot import Token
from core.web import Request as WebRequest
from core.web import Unreachable, Web

log = logging.getLogger("toolgate.exchange")

TIMEOUT_S = 8.0
MOST_BYTES = 64 * 1024


class Exchanging:
    """`on_behalf.Obtain`."""

    def __init__(self, web: Web, prover: Prover, clock: Callable[[], float] = time.time) -> None:
        self._web = web
        self._prover = prover
        self._clock = clock

    async def obtain(self, wanted: Wanted) -> Token | Declined:
        try:
            answer = await self._redeem(wanted, exchange.first(wanted))
            then = exchange.second(wanted, answer)
            if then is not None:
                answer = await self._redeem(wanted, then)
            return exchange.read(wanted, answer, self._clock())
        except NotBelieved as no:
            log.warning("%s/%s: no token on a caller's behalf: %s", wanted.tenant, wanted.server, no)
            return Declined(refused=True, detail=str(no)[:300])
        except Unreachable as away:
            log.warning("%s/%s: no token on a caller's behalf: %s", wanted.tenant, wanted.server, away)
            return Declined(refused=False, detail=str(away)[:300])
        except Exception:  # Whoever waits must hear something, and one server's answer be no other's trouble: an edge.
            log.exception("%s/%s: no token on a caller's behalf", wanted.tenant, wanted.server)
            return Declined(refused=False, detail="internal error")

    async def _redeem(self, wanted: Wanted, request: Request) -> TokenAnswer:
        client, place, now, assertion = request.client, request.place, int(self._clock()), ""
        if client.method == "private_key_jwt":
            claims = oauth.assertion_claims(client, place, now, secrets.token_hex(16))
            assertion = self._prover.sign(claims, client.private_key, client.algorithm)
        headers, body = oauth.token_request(client, request.params, assertion)
        url = place.server.token_endpoint
        answer = await self._web.fetch(
            WebRequest(
                url=url,
                method="POST",
                headers=headers,
                body=body,
                allow_private=wanted.private,
                # What the server is trusted by says nothing of others.
                ca_pem=wanted.ca_pem if oauth.origin_of(url) == oauth.origin_of(wanted.url) else "",
                timeout_s=TIMEOUT_S,
                most_bytes=MOST_BYTES,
            )
        )
        if answer.status >= 500 or answer.status == 429:
            raise Unreachable(f"{url}: HTTP {answer.status}")
        return oauth.read_token(answer.status, answer.body, place.server.issuer)
