"""Options of a query that an address does not know are refused: a slip of the hand must not pass unheard."""

import difflib
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from auricle.serve.errors import Refused

SHOWN = 60  # characters of a name that came


async def check_options(connection: HTTPConnection) -> None:
    """Take a request only with options that /openapi.json lists for its address, each once.

    Raises:
        Refused: 400, which names the option, and those there are.
    """
    scope = connection.scope
    path = getattr(scope.get("route"), "path", "")
    if scope["type"] != "http" or not path.startswith("/v1/") or not connection.query_params:
        return
    known = options_of(connection.app).get(path, [])
    given = [name for name, _ in connection.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise unknown(name, known)
        if given.count(name) > 1:
            raise Refused(400, f"{name} is given {given.count(name)} times; give it once")


def unknown(name: str, known: Iterable[str], what: str = "option") -> Refused:
    """What is said of an option that is none, or of a key of a first message.

    >>> print(unknown("treshold", ["top", "threshold"]))
    'treshold' is no option here; it may be meant for threshold: there are threshold, top
    >>> print(unknown("x", []))
    'x' is no option here; leave it out: there are none
    """
    there = sorted(known)
    near = difflib.get_close_matches(name[:SHOWN], there, 1)
    advice = f"it may be meant for {near[0]}" if near else "leave it out"
    return Refused(
        400, f"{name[:SHOWN]!r} is no {what} here; {advice}: there are {', '.join(there) or 'none'}"
    )


def options_of(app: FastAPI) -> dict[str, list[str]]:
    """The options that addresses take, as the description of the app has them.

    >>> app = FastAPI()
    >>> @app.get("/v1/tags/{id}")
    ... def tags(id: str, top: int = 5) -> None: ...
    >>> options_of(app)
    {'/v1/tags/{id}': ['top']}
    """
    found: dict[str, list[str]] | None = getattr(app.state, "options", None)
    if found is None:
        paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
        found = {path: [] for path in paths}
        for path, operations in paths.items():
            for operation in operations.values():
                parameters = operation.get("parameters", [])
                found[path] += [one["name"] for one in parameters if one["in"] == "query"]
        app.state.options = found
    return found
