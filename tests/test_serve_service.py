"""What a service says of itself: models, health, metrics, its description and the page that shows it."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families
from serving import serving, wait_until
from tiny_model import LABELS, save
from websockets.sync.client import connect

from auricle.serve.app import create_app
from auricle.serve.settings import Settings
from auricle.serve.state import Service

SECONDS = 2.5


@pytest.fixture(scope="module")
def running(model: Path) -> Iterator[tuple[str, Service]]:
    with serving(model=str(model), threads=1, queue=7, live_sessions=3) as found:
        yield found


@pytest.fixture
def client(running: tuple[str, Service]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running[0], timeout=60) as client:
        yield client


def wav(seconds: float = SECONDS) -> bytes:
    file = io.BytesIO()
    soundfile.write(
        file, np.random.default_rng(1).uniform(-0.5, 0.5, round(seconds * 8000)), 8000, format="WAV"
    )
    return file.getvalue()


def figures(client: httpx.Client) -> dict[str, float]:
    """What /metrics says: name{label="value",...} -> value."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}"
            assert key not in found
            found[key] = sample.value
    return found


def test_models_say_what_the_page_and_programs_need(client: httpx.Client, tmp_path: Path) -> None:
    said = client.get("/v1/models").json()
    (one,) = said["models"]
    assert one["labels"] == list(LABELS)
    assert (one["rate"], one["window"], one["hop"]) == (8000, 0.25, 0.25)
    assert one["thresholds"] is None and one["threshold"] == 0.5
    assert "json" in said["formats"] and "parquet" in said["formats"]
    limits = {"max_upload_bytes": 2 << 30, "max_audio_seconds": 86400.0, "keep_hours": 24.0}
    assert said["limits"] == limits | {"live": True}


def test_a_model_with_thresholds_says_each_labels(tmp_path: Path) -> None:
    chosen = {"thresholds": [0.1, 0.2, 0.3], "events": {"onset": 0.4}}
    save(tmp_path / "model", **chosen)
    with serving(model=str(tmp_path / "model"), threads=1, live_sessions=0) as (address, _):
        said = httpx.get(address + "/v1/models").json()
        assert said["limits"]["live"] is False
        (one,) = said["models"]
        assert one["thresholds"] == dict(zip(LABELS, chosen["thresholds"], strict=True))
        assert one["threshold"] == 0.4


def test_health_is_200_until_the_service_ends_or_its_model_is_stuck(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(model=str(model), threads=1, token="0123456789abcdef") as (address, service):
        answer = httpx.get(address + "/healthz")  # for which no token is needed
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        monkeypatch.setattr(service.scorer, "_began", time.monotonic() - 100)
        answer = httpx.get(address + "/healthz")
        assert answer.status_code == 503 and "does not answer" in answer.json()["error"]
        monkeypatch.undo()
        assert httpx.get(address + "/healthz").status_code == 200
        service.scorer.close()
        assert httpx.get(address + "/healthz").status_code == 503
        service.stopping.set()
        answer = httpx.get(address + "/healthz")
        assert answer.status_code == 503 and "ending" in answer.json()["error"]
        assert answer.headers["retry-after"] == "30"
        assert httpx.get(address + "/metrics").status_code == 401


def test_metrics_count_what_was_asked_and_done(running: tuple[str, Service], client: httpx.Client) -> None:
    before = figures(client)
    assert client.post("/v1/tag", files={"file": ("a.wav", wav())}).status_code == 200
    assert client.post("/v1/tag?top=0", files={"file": ("a.wav", wav())}).status_code == 400
    assert client.get("/v1/jobs/none").status_code == 404
    assert client.get("/nowhere").status_code == 404
    assert client.get("/", headers={"Host": "example.org"}).status_code == 421
    assert client.request("BREW", "/v1/models").status_code in (400, 405)
    address = running[0].replace("http", "ws", 1) + "/v1/live"
    with connect(address) as socket:
        socket.send('{"rate": 8000, "hop": 0.25}')
        socket.send((np.zeros(8000)).astype("<i2").tobytes())
        row = json.loads(socket.recv(timeout=20))
        assert row["end"] == 0.25
        assert figures(client)["auricle_live_sessions{}"] == 1
        socket.send('{"end": true}')
        while "duration" not in json.loads(socket.recv(timeout=20)):
            continue
    wait_until(lambda: running[1].listening == 0)
    after = figures(client)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grown('auricle_requests_total{method="POST",route="/v1/tag",status="200"}') == 1
    assert grown('auricle_requests_total{method="POST",route="/v1/tag",status="400"}') == 1
    assert grown('auricle_requests_total{method="GET",route="/v1/jobs/{id}",status="404"}') == 1
    assert grown('auricle_requests_total{method="GET",route="page",status="404"}') == 1
    assert grown('auricle_requests_total{method="GET",route="none",status="421"}') == 1
    assert not [name for name in after if "BREW" in name]
    assert grown('auricle_request_seconds_count{route="/v1/tag"}') == 2
    assert grown("auricle_audio_seconds_total{}") == pytest.approx(SECONDS)
    assert grown("auricle_live_audio_seconds_total{}") == pytest.approx(1.0)
    assert grown('auricle_live_ended_total{code="1000"}') == 1
    assert grown("auricle_live_delay_seconds_count{}") == 4
    assert grown("auricle_windows_total{}") == 10 + 4
    assert 3 + 1 <= grown("auricle_batches_total{}") <= 3 + 4
    assert grown('auricle_jobs_ended_total{state="done"}') == 1
    assert grown("auricle_uploads_total{}") == 1
    assert grown("auricle_upload_bytes_total{}") == len(wav())
    assert after["auricle_requests_in_progress{}"] == 1  # this one
    assert after["auricle_queue_limit{}"] == 7 and after["auricle_live_limit{}"] == 3
    assert after["auricle_queue_length{}"] == 0 and after["auricle_scorer_alive{}"] == 1
    assert after["process_resident_memory_bytes{}"] > 1e7
    assert not [name for name in after if "_created" in name]


def test_a_broken_recording_is_counted_where_it_kills_its_decoder(
    running: tuple[str, Service], client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auricle.serve import metrics

    monkeypatch.setitem(metrics.deaths, "memory", 3)
    assert figures(client)['auricle_decoder_deaths_total{cause="memory"}'] == 3


def test_the_table_in_the_documentation_names_every_metric(client: httpx.Client) -> None:
    text = (Path(__file__).parents[1] / "docs" / "serve.md").read_text()
    names = {name.partition("{")[0] for name in figures(client)}
    names = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in names}
    assert not [name for name in names if name.startswith("auricle_") and f"`{name}" not in text]


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    said = create_app(Settings()).openapi()
    return dict(json.loads(json.dumps(said)))


def test_the_description_has_every_route_and_its_refusals(described: dict[str, Any]) -> None:
    paths = described["paths"]
    assert {"/v1/tag", "/v1/jobs/{id}", "/v1/live", "/v1/models", "/healthz", "/metrics"} <= set(paths)
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            statuses = set(operation["responses"])
            assert {"400", "421", "500", "503"} <= statuses, (method, path)
            if method != "get":
                assert "403" in statuses
            for status, answer in operation["responses"].items():
                if status >= "400":
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Error"}, (method, path, status)
                elif status == "200":
                    assert answer["content"], (method, path)
    assert "HTTPValidationError" not in json.dumps(described)


def test_the_page_of_the_description_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "<style" not in page.text and "http" not in page.text.replace("https-equiv", "")
    for name in ("vendor/swagger-ui-bundle.js", "vendor/swagger-ui.css", "docs.js", "docs.css"):
        assert name in page.text
        assert client.get("/" + name).status_code == 200
    assert client.get("/openapi.json").json()["info"]["title"] == "auricle"
