"""Who asks: a browser that is known by a cookie, so that nobody sees another's recordings."""

import hashlib
import re
import secrets
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from auricle.serve.cookies import names_of, set_cookie

RENEWED = "renewed_cookie"  # in the state of a request: a header that its answer gets, whatever makes it
MORE_SECONDS = 24 * 3600.0  # that a cookie outlives what it leads to
FORM = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 random bytes


async def visitor_of(request: Request) -> str:
    """Who asks, as the library knows them; "" for somebody without a cookie, who has no recordings.

    The library keeps a hash: who reads its file cannot take a visitor's place.
    """
    said = _said(request)
    return _known_as(said) if said else ""


def welcome(request: Request, response: Response, seconds: float) -> str:
    """The same, and a cookie for somebody without one; it lasts longer than what they leave here.

    Args:
        request: that came.
        response: that gets the cookie.
        seconds: how long a recording is kept after it was last looked at.
    """
    said = _said(request) or secrets.token_urlsafe(32)
    set_cookie(request, response, names_of(request, "visitor")[0], said, round(seconds + MORE_SECONDS))
    return _known_as(said)


def renew(request: Request, seconds: float) -> None:
    """Have the cookie of a request last on: what it leads to was looked at, and is kept for longer now."""
    answer = Response()
    welcome(request, answer, seconds)
    setattr(request.state, RENEWED, answer.headers["set-cookie"])


def _said(request: Request) -> str:
    """The visitor's cookie; "" for none, and for one that is not as the service makes them."""
    came = (request.cookies.get(name, "") for name in names_of(request, "visitor"))
    return next(filter(FORM.fullmatch, came), "")


def _known_as(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("ascii")).hexdigest()[:32]


Visitor = Annotated[str, Depends(visitor_of)]
