"""Who asks: a browser that is known by a cookie, so that nobody sees another's recordings."""

import hashlib
import re
import secrets
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

COOKIE = "auricle_visitor"
FORM = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 random bytes


def visitor_of(request: Request) -> str:
    """Who asks, as the library knows them; "" for somebody without a cookie, who has no recordings.

    The library keeps a hash: who reads its file cannot take a visitor's place.
    """
    said = request.cookies.get(COOKIE, "")
    return _known_as(said) if FORM.fullmatch(said) else ""


def welcome(request: Request, response: Response, seconds: float) -> str:
    """The same, and a cookie for somebody without one; it lasts so long from now.

    Args:
        request: that came.
        response: that gets the cookie.
        seconds: how long what they leave here is kept.
    """
    said = request.cookies.get(COOKIE, "")
    if not FORM.fullmatch(said):
        said = secrets.token_urlsafe(32)
    secure = request.url.scheme == "https"
    rules = {"httponly": True, "samesite": "strict", "secure": secure, "path": "/"}
    response.set_cookie(COOKIE, said, max_age=max(3600, round(seconds)), **rules)  # type: ignore[arg-type]
    return _known_as(said)


def _known_as(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("ascii")).hexdigest()[:32]


Visitor = Annotated[str, Depends(visitor_of)]
