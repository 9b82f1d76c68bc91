"""/openapi.json says all that the routes do: requests made from it, right and wrong, get what it promises."""

import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
import soundfile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.python import asgi
from schemathesis.specs.openapi import checks

from auricle.serve.app import create_app
from auricle.serve.settings import Settings

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a service in this process, which has a root."""
    root = tmp_path_factory.mktemp("root")
    soundfile.write(root / "a.wav", np.zeros(4000), 8000)
    chosen = Settings(
        model=str(model), threads=1, root=root, allowed_hosts=("testserver",), max_upload_bytes=1 << 20
    )
    app = create_app(chosen)
    with asgi.get_client(app) as session:
        yield session
    asgi.shutdown_lifespans()


@pytest.fixture(scope="module")
def schema(client: Any) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", client.app)


@pytest.fixture(scope="module")
def known(client: Any) -> dict[str, dict[str, Any]]:
    """Ids that lead somewhere, by the first words of an address."""
    sound = io.BytesIO()
    soundfile.write(sound, np.random.default_rng(1).uniform(-0.5, 0.5, 12000), 8000, format="WAV")
    files = {"file": ("a.wav", sound.getvalue())}
    job = client.post("http://testserver/v1/tag?wait=0&windows=true", files=files).json()["job"]
    known = {"/v1/jobs/{id}": {"id": job}}
    answer = client.post("http://testserver/v1/recordings", files=files)
    if answer.status_code == 201:
        recording = answer.json()
        wait_for(client, recording["job"])
        where = f"http://testserver/v1/recordings/{recording['id']}/corrections"
        right = {"label": "dog", "start": 0, "end": 1, "verdict": "added"}
        correction = client.post(where, json=right).json()
        known["/v1/recordings/{id}"] = {
            "id": recording["id"],
            "correction": correction["id"],
            "level": 0,
            "tile": 0,
        }
    wait_for(client, job)
    return known


def wait_for(client: Any, job: str) -> None:
    for _ in range(2000):
        if client.get(f"http://testserver/v1/jobs/{job}").json()["state"] in ("done", "failed"):
            return
    raise AssertionError("the job does not end")


def failures(
    schema: Any, client: Any, known: dict[str, dict[str, Any]], examples: int, got: dict[str, set[str]]
) -> Iterator[str]:
    """What requests made from the description get that it does not promise."""
    for found in schema.get_all_operations():
        operation = found.ok()
        places: list[dict[str, Any] | None] = [None]
        for start, ids in known.items():
            if operation.path.startswith(start) and operation.method != "delete":
                places.append({name: ids[name] for name in ids if f"{{{name}}}" in operation.path})
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for place in places:
                strategy = operation.as_strategy(mode, path_parameters=place)
                try:
                    ask(strategy, client, examples, got)
                except Unsatisfiable:  # nothing can be wrong with it
                    continue
                except (FailureGroup, Failure) as error:
                    yield f"{operation.method} {operation.path} {mode.name}: {error}"[:2000]


def ask(strategy: Any, client: Any, examples: int, got: dict[str, set[str]]) -> None:
    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )
    @given(case=strategy)
    def check(case: Any) -> None:
        answer = case.call_and_validate(session=client, checks=CHECKS, timeout=60)
        kind = answer.headers.get("content-type", [""])[0]
        got[case.operation.label].add(f"{answer.status_code} {kind.partition(';')[0]}".strip())

    check()


def check_all(schema: Any, client: Any, known: dict[str, dict[str, Any]], examples: int) -> None:
    got: dict[str, set[str]] = defaultdict(set)
    assert list(failures(schema, client, known, examples, got)) == []
    for label, statuses in got.items():
        if label.startswith("GET") and label != "GET /v1/live":
            assert [status for status in statuses if status.startswith("2")], f"{label}: only {statuses}"


def test_every_answer_is_one_that_the_description_promises(
    schema: Any, client: Any, known: dict[str, dict[str, Any]]
) -> None:
    check_all(schema, client, known, 3)


@pytest.mark.slow
def test_every_answer_to_thousands_of_requests_is_one_that_the_description_promises(
    schema: Any, client: Any, known: dict[str, dict[str, Any]]
) -> None:
    check_all(schema, client, known, 100)
