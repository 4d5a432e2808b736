"""The pages: server-rendered, without scripts or anything from elsewhere."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Final

from starlette.responses import Response

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:10vh auto;padding:0 1rem}"
    "h1{font-size:1.35rem}label{display:block;margin:.75rem 0 .25rem}"
    "input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem}"
    "button{font:inherit;padding:.5rem 1.25rem;margin:1rem .5rem 0 0}"
    "dt{font-weight:600;margin-top:.5rem}dd{margin:0;overflow-wrap:anywhere}"
    ".wrong{border-left:4px solid #c00;padding-left:.75rem}.quiet{opacity:.75;font-size:.9rem}"
)
_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()


def page(title: str, body: str, *, status: int = 200, leads_to: str = "", cookies: Sequence[str] = ()) -> Response:
    """`body` is HTML. `leads_to`: origin (or scheme) a form may end at after it was sent to us.

    Browsers hold redirects that answer a form to `form-action` too.
    """
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    action = f"form-action 'self' {leads_to}".rstrip()
    policy = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; {action}; frame-ancestors 'none'; base-uri 'none'"
    response = Response(html, status, media_type="text/html")
    response.headers["content-security-policy"] = policy
    # Forms carry an Origin only where there may be a referrer; it goes nowhere but here.
    response.headers["referrer-policy"] = "same-origin"
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response


def text(plain: str) -> str:
    """As HTML."""
    return escape(plain)


def sign_in(tenant: str, reason: str, seal: str, *, wrong: str = "", user: str = "", elsewhere: str = "") -> str:
    """`elsewhere`: HTML of other ways to sign in."""
    told = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    return (
        f"<p>{escape(reason)}</p>{told}{elsewhere}"
        f'<form method="post"><input type="hidden" name="step" value="sign-in">{_hidden(seal)}'
        f'<label for="user">User at {escape(tenant)}</label>'
        f'<input id="user" name="user" autocomplete="username" autocapitalize="none" required value="{escape(user)}">'
        '<label for="password">Password</label>'
        '<input id="password" name="password" type="password" autocomplete="current-password" required>'
        '<button type="submit">Sign in</button></form>'
    )


def elsewhere(providers: Mapping[str, str], seal: str) -> str:
    """Other ways to sign in. `providers`: name to what the button says."""
    buttons = "".join(
        f'<button type="submit" name="provider" value="{escape(name)}">Sign in with {escape(label)}</button>'
        for name, label in providers.items()
    )
    form = f'<form method="post"><input type="hidden" name="step" value="elsewhere">{_hidden(seal)}{buttons}</form>'
    return form if buttons else ""


def consent(about: Mapping[str, str], scopes: Mapping[str, str], user: str, seal: str, warning: str) -> str:
    """`about`: what is known of the request, in words."""
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in about.items())
    wishes = "".join(f"<li>{escape(meaning)} <code>{escape(scope)}</code></li>" for scope, meaning in scopes.items())
    told = f'<p class="wrong">{escape(warning)}</p>' if warning else ""
    return (
        f"<dl>{facts}</dl>{told}<p>It asks to:</p><ul>{wishes}</ul>"
        f'<form method="post"><input type="hidden" name="step" value="consent">{_hidden(seal)}'
        '<button type="submit" name="decision" value="allow">Allow</button>'
        '<button type="submit" name="decision" value="deny">Deny</button></form>'
        f'<form method="post" class="quiet"><input type="hidden" name="step" value="sign-out">{_hidden(seal)}'
        f"<p>Signed in as {escape(user)}."
        ' <button type="submit">Use another account</button></p></form>'
    )


def _hidden(seal: str) -> str:
    return f'<input type="hidden" name="seal" value="{escape(seal)}">'
