"""The authorization endpoint: what a client asks for, who is asked, and the code it gets (RFC 6749 section 4.1)."""

import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from starlette.responses import RedirectResponse, Response

from control_plane.browser import pages
from control_plane.browser.sign_in import BY_PASSWORD, SignIn
from control_plane.oauth.clients import ClientProofs
from control_plane.oauth.documents import host_of
from control_plane.oauth.federation import Federation, leads_to
from control_plane.oauth.issuers import Issuer, auth_entry
from control_plane.oauth.tokens import Rules
from core.admin import Rejected, Why
from core.audit import AuditRows
from core.audit_outcomes import AuthOutcome
from core.identity import key_hash
from core.oauth.client import LOOPBACK, Client, split
from core.oauth.errors import OAuthError
from core.oauth.grant import Code, Grant, challenge_problem, scopes_for
from core.oauth.stores import Grants, People, Session
from core.token import THUMBPRINT

CODE_S = 60.0
CONSENT_S = 365 * 86_400.0
STATE_MAX, NONCE_MAX = 2048, 512
_SECONDS = re.compile(r"[0-9]{1,9}")
ANYBODY = "Any program on this machine could have sent you here. Allow it only if you have just started it."
Form = Mapping[str, str]


class Visit(NamedTuple):
    """A browser at the page."""

    query: str
    """As it came: what a form's seal is for."""
    asked: Form
    cookies: Form
    form: Form | None
    """None: the page is only looked at."""
    address: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may be shown to a person."""

    client: Client
    redirect_uri: str
    state: str
    challenge: str
    scopes: tuple[str, ...]
    resource: str
    prompt: tuple[str, ...]
    nonce: str
    jkt: str
    """The key the code shall be bound to (RFC 9449 section 10); empty: none."""
    max_age_s: int | None
    """How long ago a person may have signed in at most; None: it does not matter."""

    def stale(self, session: Session, now: float) -> bool:
        """Whether who is signed in has to do so again (OpenID Connect Core section 3.1.2.1)."""
        old = self.max_age_s is not None and now - session.shown_unix > self.max_age_s
        return old or "login" in self.prompt or self.max_age_s == 0

    @property
    def proves_itself(self) -> bool:
        """Whether only this client can have the answer: what runs on people's machines can be anybody's."""
        parts = split(self.redirect_uri)
        return parts is not None and parts.scheme == "https" and parts.hostname not in LOOPBACK


class Desk(NamedTuple):
    """Where a person is served: what is asked of whom, at which browser."""

    issuer: Issuer
    visit: Visit
    asked: Asked
    browser: str
    session: Session | None
    cookie: str
    """A `Set-Cookie` value, where the browser is new."""

    @property
    def purpose(self) -> str:
        return f"{self.issuer.tenant}/authorize?{self.visit.query}"

    @property
    def cookies(self) -> list[str]:
        return [self.cookie] if self.cookie else []


class Authorization:
    def __init__(  # noqa: PLR0917 - what the page needs.
        self,
        sign_in: SignIn,
        proofs: ClientProofs,
        rules: Rules,
        grants: Grants,
        people: People,
        audit: AuditRows,
        federation: Federation,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sign_in = sign_in
        self._proofs = proofs
        self._rules = rules
        self._grants = grants
        self._people = people
        self._audit = audit
        self._federation = federation
        self._clock = clock

    async def answer(self, issuer: Issuer, visit: Visit) -> Response:
        """A page, or the way back to the client."""
        try:
            client, redirect_uri = await self._client(issuer, visit.asked, visit.address)
        except OAuthError as wrong:
            # Nobody is sent to where nothing is known of (RFC 6749 section 4.1.2.1).
            return _refused(wrong.description)
        try:
            asked = await self._asked(issuer, visit.asked, client, redirect_uri)
            return await self._with(issuer, visit, asked)
        except OAuthError as wrong:
            if not await self._trusted(issuer, client):
                return _refused(f"{client.name}: {wrong.description} ({wrong.code}).")
            return _sent_back(issuer, redirect_uri, visit.asked.get("state", ""), _error(wrong))

    async def _trusted(self, issuer: Issuer, client: Client) -> bool:
        """Whether browsers may be sent to it without anybody having been asked (RFC 9700 section 4.11.2): whoever
        registers, or publishes a document, would have a link of ours that leads to anywhere.
        """
        return client.source == "agent" or await self._people.allowed_by_anybody(issuer.tenant, client.client_id)

    async def _client(self, issuer: Issuer, asked: Form, address: str) -> tuple[Client, str]:
        client = await self._proofs.known(issuer, asked.get("client_id", ""), address)
        if client is None or "authorization_code" not in client.grant_types:
            raise OAuthError("invalid_request", "client_id names no client that people can sign in with here.")
        uri = asked.get("redirect_uri", "")
        if not uri and len(client.redirect_uris) == 1:
            return client, client.redirect_uris[0]
        if not client.redirects_to(uri):
            raise OAuthError("invalid_request", "redirect_uri is none of those the client has registered.")
        return client, uri

    async def _asked(self, issuer: Issuer, asked: Form, client: Client, redirect_uri: str) -> Asked:
        if asked.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type must be code")
        if asked.get("response_mode", "query") != "query":
            raise OAuthError("invalid_request", "response_mode must be query")
        if "request" in asked or "request_uri" in asked:
            raise OAuthError("invalid_request", "request objects are not taken")
        for name, most in (("state", STATE_MAX), ("nonce", NONCE_MAX)):
            if len(asked.get(name, "")) > most:
                raise OAuthError("invalid_request", f"{name} must be at most {most} letters")
        if not THUMBPRINT.fullmatch(asked.get("dpop_jkt", "A" * 43)):
            raise OAuthError("invalid_request", "dpop_jkt must be 43 letters of base64url")
        fault = challenge_problem(asked.get("code_challenge", ""), asked.get("code_challenge_method", ""))
        if fault:
            raise OAuthError("invalid_request", fault)
        prompt, max_age = tuple(asked.get("prompt", "").split()), asked.get("max_age", "")
        if "none" in prompt and len(prompt) > 1:
            raise OAuthError("invalid_request", "prompt must not be none and something else")
        if max_age and not _SECONDS.fullmatch(max_age):
            raise OAuthError("invalid_request", "max_age must be a whole number of seconds")
        return Asked(
            client=client,
            redirect_uri=redirect_uri,
            state=asked.get("state", ""),
            challenge=asked["code_challenge"],
            scopes=scopes_for(asked.get("scope", ""), issuer.server, client, people=True),
            resource=await self._rules.resource(issuer, asked.get("resource", "")),
            prompt=prompt,
            nonce=asked.get("nonce", ""),
            jkt=asked.get("dpop_jkt", ""),
            max_age_s=int(max_age) if max_age else None,
        )

    async def _with(self, issuer: Issuer, visit: Visit, asked: Asked) -> Response:
        session = await self._sign_in.session(issuer.tenant, visit.cookies)
        browser, cookie = self._sign_in.browser(visit.cookies)
        desk = Desk(issuer, visit, asked, browser, session, cookie)
        step = None
        if visit.form is not None:
            if cookie or not self._sign_in.sealed(visit.form, browser, session, desk.purpose):
                return _refused("This form is too old, or not of our page. Go back to the app and try again.")
            step = visit.form.get("step")
        if step == "sign-in" and visit.form is not None:
            return await self._signing_in(desk, visit.form)
        if step == "elsewhere" and visit.form is not None:
            return await self._elsewhere(desk, visit.form.get("provider", ""))
        if session is not None and step == "sign-out":
            return _again(visit.query, await self._sign_in.end(issuer.tenant, visit.cookies))
        # A form of the consent page is of somebody who had signed in as asked for when it was shown.
        if session is None or (step != "consent" and asked.stale(session, self._clock())):
            if "none" in asked.prompt:
                raise OAuthError("login_required", "nobody is signed in, or not lately enough")
            return await self._sign_in_page(desk)
        if step == "consent" and visit.form is not None:
            return await self._decided(issuer, visit.form, asked, session)
        return await self._ask(desk, session)

    async def _signing_in(self, desk: Desk, form: Form) -> Response:
        tenant, name = desk.issuer.tenant, form.get("user", "").strip()
        verified = desk.issuer.server.require_verified_email
        try:
            user = await self._sign_in.check(
                tenant, name, form.get("password", ""), desk.visit.address, verified=verified
            )
        except Rejected as refused:
            if refused.why is not Why.UNAUTHENTICATED:
                raise
            return await self._sign_in_page(desk, wrong=refused.public, user=name)
        return _again(_signed_in(desk.visit), await self._sign_in.begin(tenant, user, BY_PASSWORD))

    async def _elsewhere(self, desk: Desk, provider: str) -> Response:
        """To a provider; the page goes on when they are back."""
        visit, asked = desk.visit, desk.asked
        max_age_s = 0 if "login" in asked.prompt else asked.max_age_s
        back = f"{urlsplit(desk.issuer.url).path}/authorize?{_signed_in(visit)}"
        try:
            url = await self._federation.begin(desk.issuer, provider, desk.browser, back, visit.address, max_age_s)
        except Rejected as refused:
            return await self._sign_in_page(desk, wrong=refused.public)
        return RedirectResponse(url, 303)

    async def _sign_in_page(self, desk: Desk, *, wrong: str = "", user: str = "") -> Response:
        seal = self._sign_in.seal(desk.browser, desk.session, desk.purpose)
        offers = await self._federation.offered(desk.issuer.tenant)
        body = pages.sign_in(
            desk.issuer.tenant,
            f"{desk.asked.client.name} wants to act for you.",
            seal,
            wrong=wrong,
            user=user,
            elsewhere=pages.elsewhere({one.name: one.label for one in offers}, seal),
        )
        status = 401 if wrong else 200
        return pages.page("Sign in", body, status=status, leads_to=leads_to(offers), cookies=desk.cookies)

    async def _ask(self, desk: Desk, session: Session) -> Response:
        asked, server = desk.asked, desk.issuer.server
        before = await self._people.consented(session.tenant, session.user, asked.client.client_id, asked.resource)
        if asked.proves_itself and "consent" not in asked.prompt and set(asked.scopes) <= set(before):
            return await self._code(desk.issuer, asked, session)
        if "none" in asked.prompt:
            raise OAuthError("consent_required", "the user has to be asked")
        target = split(asked.redirect_uri)
        assert target is not None
        about = {"App": asked.client.name}
        if asked.client.source == "document":
            about["Described at"] = host_of(asked.client.client_id)
        here = target.hostname in LOOPBACK
        about["Answers go to"] = "a program on this machine" if here else target.hostname or f"{target.scheme}: an app"
        about["For"] = asked.resource
        body = pages.consent(
            about,
            {scope: server.meaning(scope) for scope in asked.scopes},
            session.user,
            self._sign_in.seal(desk.browser, session, desk.purpose),
            "" if asked.proves_itself else ANYBODY,
        )
        leads_to = f"{target.scheme}://{target.netloc}" if target.scheme in ("http", "https") else f"{target.scheme}:"
        return pages.page(f"Allow {asked.client.name}?", body, leads_to=leads_to, cookies=desk.cookies)

    async def _decided(self, issuer: Issuer, form: Form, asked: Asked, session: Session) -> Response:
        grant, allowed = self._grant(issuer, asked, session), form.get("decision") == "allow"
        detail: dict[str, object] = {
            "client_id": grant.client_id,
            "resource": grant.resource,
            "scope": " ".join(grant.scopes),
        }
        now = self._clock()
        caller = f"{grant.user}/{grant.agent}"
        outcome: AuthOutcome = "allowed" if allowed else "denied"
        entry = auth_entry(uuid.uuid4().hex, "oauth/consent", outcome, caller, detail=detail, now=now)
        if not allowed:
            await self._audit.store({issuer.tenant: [entry]})
            denied = OAuthError("access_denied", "the user did not allow it")
            return _sent_back(issuer, asked.redirect_uri, asked.state, _error(denied))
        await self._people.consent(grant, now + CONSENT_S, entry)
        return await self._code(issuer, asked, session)

    async def _code(self, issuer: Issuer, asked: Asked, session: Session) -> Response:
        grant = self._grant(issuer, asked, session)
        text = secrets.token_urlsafe(32)
        code = Code(
            grant=msgspec.structs.replace(grant, jkt=asked.jkt),
            redirect_uri=asked.redirect_uri,
            challenge=asked.challenge,
            family=uuid.uuid4().hex,
            nonce=asked.nonce,
        )
        now = self._clock()
        detail: dict[str, object] = {"client_id": grant.client_id, "resource": grant.resource, "family": code.family}
        entry = auth_entry(
            uuid.uuid4().hex, "oauth/authorize", "issued", f"{grant.user}/{grant.agent}", detail=detail, now=now
        )
        await self._grants.keep_code(key_hash(issuer.secrets.pepper, text.encode()), code, now + CODE_S, entry)
        return _sent_back(issuer, asked.redirect_uri, asked.state, {"code": text})

    def _grant(self, issuer: Issuer, asked: Asked, session: Session) -> Grant:
        return Grant(
            tenant=issuer.tenant,
            client_id=asked.client.client_id,
            user=session.user,
            agent=asked.client.agent,
            resource=asked.resource,
            scopes=asked.scopes,
            auth_unix=session.shown_unix,
            acr=session.acr,
            amr=session.amr,
        )


def _signed_in(visit: Visit) -> str:
    """The query without its wish for a sign-in, which has just come true."""
    asked = dict(visit.asked)
    prompt = " ".join(one for one in asked.pop("prompt", "").split() if one != "login")
    if asked.get("max_age", "").strip("0") == "":
        asked.pop("max_age", None)
    return urlencode(asked | ({"prompt": prompt} if prompt else {}), quote_via=quote)


def _again(query: str, cookie: str) -> Response:
    """The same page, looked at anew: a form is never sent twice by going back."""
    response = RedirectResponse(f"?{query}", 303)
    response.headers.append("set-cookie", cookie)
    return response


def _refused(description: str) -> Response:
    return pages.page("This cannot go on", f"<p>{pages.text(description)}</p>", status=400)


def _error(wrong: OAuthError) -> dict[str, str]:
    return {"error": wrong.code, "error_description": wrong.description}


def _sent_back(issuer: Issuer, redirect_uri: str, state: str, answer: Mapping[str, str]) -> Response:
    """With `iss`, so that a client that talks to many servers is not mixed up (RFC 9207)."""
    said = {**answer, **({"state": state} if state else {}), "iss": issuer.url}
    mark = "&" if "?" in redirect_uri else "?"
    return RedirectResponse(f"{redirect_uri}{mark}{urlencode(said, quote_via=quote)}", 303)
