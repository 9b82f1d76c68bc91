"""`GET /docs`: what may be asked, to read and to try; and what `/openapi.json` has beside FastAPI's part."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import FileResponse

from auricle.serve.errors import SAID

router = APIRouter(include_in_schema=False)

PAGE = Path(__file__).parent / "page" / "docs.html"
# What any route may answer before it is asked: the guard's, and those of the connection.
ALWAYS = (400, 401, 408, 421, 431, 500, 503)
CHANGING = (403,)  # what comes from another site's page
WITH_BODY = (413,)
SAFE = ("get", "head", "options")


@router.get("/docs")
async def docs() -> FileResponse:
    """Swagger UI, which lies beside the page."""
    return FileResponse(PAGE, headers={"Cache-Control": "no-cache"})


def completed(said: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's description of the routes, with what stands before all of them; its own form of errors goes.

    >>> completed({"paths": {"/x": {"get": {"responses": {}}}}})["paths"]["/x"]["get"]["responses"]["421"]
    {'description': 'The service does not go by this name.', ...}
    """
    for path in said["paths"].values():
        for method, operation in path.items():
            answers = operation["responses"]
            if "HTTPValidationError" in str(answers.get("422")):
                del answers["422"]
            more = ALWAYS + (() if method in SAFE else CHANGING)
            for status in more + (WITH_BODY if "requestBody" in operation else ()):
                answers.setdefault(str(status), _refusal(status))
            operation["responses"] = dict(sorted(answers.items()))
    schemas = said.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    said["servers"] = [
        {"url": ".", "description": "this service"}
    ]  # seen from the description: below a proxy's prefix, too
    said["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    said["security"] = [{}, {"token": []}]  # it is only asked for where the service was given one
    return said


def _refusal(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": SAID[status], "content": {"application/json": {"schema": schema}}}
