"""What is refused, as every client gets it: a status and {"error": "one line"}."""

import errno
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from auricle.text import as_utf8, one_line

logger = logging.getLogger("auricle.serve")

FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
NO_JSON = "the body is no JSON that can be read; expected one object, as /docs shows it for this address"
UNPARSED = "There was an error parsing the body"  # which FastAPI says of JSON that is too deep, say
NO_ROOM = "the disk of the service is full; ask who runs it to make room"

SAID = {
    400: "The request is not what it should be.",
    401: "A token is needed.",
    403: "It is not allowed.",
    404: "There is nothing of that name.",
    405: "The address does not take this method.",
    408: "The request came too slowly.",
    409: "It cannot be had in the state that things are in.",
    410: "It was there, and is gone.",
    411: "The length must be given.",
    413: "It is larger than the service takes.",
    415: "The service does not take this type of content.",
    416: "The range is not in the file.",
    421: "The service does not go by this name.",
    422: "The recording cannot be read.",
    426: "A WebSocket is needed.",
    429: "Too many wait; the header Retry-After says when to ask again.",
    431: "The headers are larger than the service takes.",
    500: "The service made a mistake.",
    503: "The service is ending, or cannot work.",
    507: "The disk of the service is full.",
}


class Error(BaseModel):
    """What every refusal looks like."""

    error: str

    model_config = {
        "json_schema_extra": {"example": {"error": "top is 0; expected 1 or more; leave it out for 5"}}
    }


class Refused(Exception):
    """A request is refused; to be raised anywhere below a route.

    Args:
        status: of HTTP.
        text: one line: what came, what was expected, what to do.
        headers: further headers of the answer.

    >>> str(Refused(404, "no job x; it may have expired"))
    'no job x; it may have expired'
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None):
        super().__init__(text)
        self.status, self.text, self.headers = status, one_line(as_utf8(text)), dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse({"error": self.text}, self.status, self.headers)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What FastAPI is told of the refusals of a route.

    >>> responses(404)[404]["description"]
    'There is nothing of that name.'
    """
    return {status: {"model": Error, "description": SAID[status]} for status in statuses}


async def refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    """The answer of a middleware that does not pass a request on."""
    await refused.response()(scope, receive, send)


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of an app look the same.

    >>> add_error_handlers(FastAPI())
    """
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _system)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return error.response()


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return Refused(400, "; ".join(said(problem) for problem in error.errors()[:5])).response()


def said(problem: Mapping[str, Any]) -> str:
    """One of pydantic's errors as what came and what was expected; the first part of its place is left out.

    >>> said({"loc": ("query", "top"), "msg": "Input should be 1 or more", "type": "", "input": 0})
    "top is '0'; input should be 1 or more"
    """
    place = ".".join(str(part) for part in problem["loc"][1:]) or "the request"
    text = str(problem["msg"])
    text = text[:1].lower() + text[1:]
    if problem["type"] == "json_invalid":
        return NO_JSON
    if problem["type"] == "missing":
        return f"{place} is missing; give it"
    came = problem.get("input")
    if isinstance(came, str | int | float | bool) or came is None:
        return f"{place} is {str(came)[:100]!r}; {text}"
    return f"{place}: {text}"


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    text = error.detail
    if error.status_code == 404 and text == HTTPStatus(404).phrase:
        text = f"nothing is at {request.url.path[:200]}; /docs lists what there is"
    elif error.status_code == 400 and text == UNPARSED:
        text = NO_JSON
    elif error.status_code == 405:
        text = f"{request.url.path[:200]} does not take {request.method}; /docs lists what it takes"
    return Refused(error.status_code, str(text), error.headers).response()


async def _system(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    if error.errno in FULL:
        return Refused(507, NO_ROOM).response()
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return await _unexpected(request, error)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    text = "the service made a mistake, which stands in its log; ask again, and report it if it stays"
    return Refused(500, text).response()
