"""Cookies as the service sets them: for itself alone, and over https only where it is asked by that.

Browsers keep cookies by host, whatever the port. So a service's cookies have its mark in their names: two
services of one machine, or below one proxy, have no part in each other's.
"""

import hashlib
import secrets
import socket

from starlette.requests import HTTPConnection
from starlette.responses import Response

from auricle.serve.settings import Settings


def mark_of(settings: Settings) -> str:
    """The mark of a service that keeps nothing: its machine's and port's, so that a login outlasts a restart.

    >>> mark_of(Settings(port=8765)) == mark_of(Settings(port=8765)) != mark_of(Settings(port=8766))
    True
    """
    if settings.port == 0:  # the next start takes another
        return secrets.token_hex(4)
    return hashlib.sha256(f"{socket.gethostname()}:{settings.port}".encode()).hexdigest()[:8]


def names_of(connection: HTTPConnection, kind: str) -> tuple[str, str]:
    """What a cookie of the service is called, and what earlier versions called it, which is still read."""
    return f"auricle_{kind}_{connection.app.state.mark}", f"auricle_{kind}"


def set_cookie(connection: HTTPConnection, response: Response, name: str, value: str, seconds: int) -> None:
    """Have a browser keep a value so long: no script reads it, and no other site's page has it sent.

    >>> answer = Response()
    >>> set_cookie(HTTPConnection({"type": "http", "scheme": "https", "headers": []}), answer, "a", "b", 60)
    >>> answer.headers["set-cookie"]
    'a=b; HttpOnly; Max-Age=60; Path=/; SameSite=strict; Secure'
    """
    rules = {"httponly": True, "samesite": "strict", "secure": is_https(connection), "path": "/"}
    response.set_cookie(name, value, max_age=seconds, **rules)  # type: ignore[arg-type]


def is_https(connection: HTTPConnection) -> bool:
    """Whether the browser asks by https, here or at a proxy in front.

    The proxy's word is taken from anybody: who lies has their own cookies sent over https only.

    >>> said = [(b"x-forwarded-proto", b"https")]
    >>> is_https(HTTPConnection({"type": "http", "scheme": "http", "headers": said}))
    True
    """
    said = connection.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return "https" in (connection.scope["scheme"], said)
