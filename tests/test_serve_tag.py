"""`POST /v1/tag` and `/v1/jobs`: the same numbers as the command line, for many clients at once."""

import contextlib
import errno
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import tiny_model
from serving import ROOT, serving, wait_until

from auricle import formats
from auricle.serve import results
from auricle.serve.job import Job
from auricle.serve.state import Service
from auricle.tagging import Tagger

WISHES: list[dict[str, Any]] = [
    {},
    {"windows": True},
    {"windows": True, "hop": 0.1, "top": 2},
    {"events": True},
    {"threshold": 0.5, "top": 1},
    {"start": 0.5, "end": 1.25, "windows": True},
]


def written(path: Path, seconds: float, rate: int = 11025) -> Path:
    rng = np.random.default_rng(int(seconds * 1000))
    envelope = np.linspace(0.1, 0.9, int(seconds * rate))  # no two windows are alike
    soundfile.write(path, envelope * rng.uniform(-1, 1, len(envelope)), rate)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sounds")
    return [written(folder / f"ü {k}.{'flac' if k % 2 else 'wav'}", 1.3 + 0.37 * k) for k in range(6)]


@pytest.fixture(scope="module")
def running(model: Path, sounds: list[Path]) -> Iterator[tuple[str, Service]]:
    with serving(model=str(model), threads=1, root=sounds[0].parent, jobs_at_once=2) as found:
        yield found


@pytest.fixture
def client(running: tuple[str, Service]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running[0], timeout=60) as client:
        yield client


@pytest.fixture
def held(running: tuple[str, Service]) -> Iterator[threading.Event]:
    """The model waits until this is set."""
    scorer, go = running[1].scorer, threading.Event()
    inner = scorer._runner

    class Held:
        def run(self, waveforms: np.ndarray) -> Any:
            assert go.wait(30)
            return inner.run(waveforms)

    scorer._runner = Held()
    yield go
    go.set()
    scorer._runner = inner


def send(client: httpx.Client, path: Path, **query: Any) -> httpx.Response:
    return client.post("/v1/tag", params=query, files={"file": (path.name, path.read_bytes())})


def where(accepted: dict[str, str]) -> str:
    """The address of a job."""
    return "/v1/" + accepted["status"]


def expected(model: Path, path: Path, **wishes: Any) -> dict[str, Any]:
    from auricle.artifact import load_artifact
    from auricle.events import events_of

    if wishes.pop("events", False):
        wishes["events"] = events_of(load_artifact(model))
    return Tagger(model, threads=1).tag(path, **wishes) | {"path": path.name}


def test_many_clients_at_once_get_the_numbers_of_the_tagger(
    running: tuple[str, Service], client: httpx.Client, model: Path, sounds: list[Path]
) -> None:
    asked = [(path, wishes) for wishes in WISHES for path in sounds]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda one: send(client, one[0], **one[1]), asked))
    for (path, wishes), answer in zip(asked, answers, strict=True):
        assert answer.status_code == 200, answer.text
        assert answer.json() == expected(model, path, **wishes)
    service = running[1]
    windows, batches = service.scorer.fill
    assert windows > batches
    wait_until(lambda: not list((service.data / "uploads").iterdir()))
    wait_until(lambda: not list((service.data / "jobs").iterdir()))
    assert sum(service.jobs.counts().values()) == 0


def test_the_bundled_model_says_what_the_command_line_says_to_the_last_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    paths = [Path(ROOT / "examples" / "scene.ogg")]
    for seconds in (0.4, 3.1, 5.0, 7.7):
        noise = rng.uniform(-0.4, 0.4, int(seconds * 22050)) * np.linspace(0, 1, int(seconds * 22050))
        soundfile.write(tmp_path / f"{seconds}.wav", noise, 22050)
        paths.append(tmp_path / f"{seconds}.wav")
    for path in paths:
        if path.parent != tmp_path:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    names = [path.name for path in paths]
    command = [
        sys.executable,
        "-m",
        "auricle",
        "tag",
        *names,
        "--format",
        "jsonl",
        "--windows",
        "--top",
        "50",
        "--threshold",
        "0",
    ]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    lines = dict(zip(names, said.stdout.splitlines(keepends=True), strict=True))
    with serving(jobs_at_once=4, threads=1) as (address, service), httpx.Client(timeout=120) as client:

        def ask(name: str) -> str:
            query = {"windows": True, "top": 50, "threshold": 0, "format": "jsonl", "wait": 100}
            files = {"file": (name, (tmp_path / name).read_bytes())}
            return client.post(f"{address}/v1/tag", params=query, files=files).raise_for_status().text

        with ThreadPoolExecutor(8) as pool:
            for name, text in zip(names * 3, pool.map(ask, names * 3), strict=True):
                assert text == lines[name]
        windows, batches = service.scorer.fill
        assert windows / batches > 2  # they did share batches


@pytest.mark.parametrize("format", [*formats.SUFFIXES, "json", "table"])
def test_every_format_is_what_its_writer_writes(
    client: httpx.Client, model: Path, sounds: list[Path], format: str
) -> None:
    answer = send(client, sounds[1], format=format, start=0.25)
    assert answer.status_code == 200, answer.text
    timed = format in formats.TIMED
    result = expected(model, sounds[1], windows=timed, scores=format == "parquet", start=0.25)
    tagger = Tagger(model, threads=1)
    with results.rendered(result, format, formats.About.of(tagger.artifact, 0.25)) as wanted:
        assert answer.content == wanted.read()
    kind = answer.headers["content-type"]
    assert kind == {"csv": "text/csv; charset=utf-8", "json": "application/json"}.get(format, kind)


def test_the_body_itself_may_be_the_recording(client: httpx.Client, model: Path, sounds: list[Path]) -> None:
    kind = {"Content-Type": "audio/wav"}
    answer = client.post("/v1/tag", content=sounds[0].read_bytes(), headers=kind)
    assert answer.json()["tags"] == expected(model, sounds[0])["tags"]


def test_a_recording_below_the_root_is_tagged_by_path(
    client: httpx.Client, model: Path, sounds: list[Path]
) -> None:
    answer = client.post("/v1/tag", json={"path": sounds[2].name})
    assert answer.json() == expected(model, sounds[2]) and sounds[2].is_file()


@pytest.mark.parametrize(
    "query, said",
    [
        ({"top": 0}, "top is '0'; input should be greater than or equal to 1"),
        ({"top": "many"}, "top is 'many'; input should be a valid integer"),
        ({"threshold": 2}, "threshold is '2'"),
        ({"threshold": "nan"}, "threshold is 'nan'"),
        ({"start": -1}, "start is '-1'"),
        ({"start": 2, "end": 1}, "end is 1; expected more than start, 2"),
        ({"hop": 99}, "hop is 99 s; expected a sample or more, and at most 0.25 s"),
        ({"hop": 0.001}, "hop is 0.001 s; expected 0.01 s or more"),
        ({"format": "xml"}, "format is 'xml'; input should be 'json', 'jsonl'"),
        ({"events": 1, "windows": 1}, "events are given in place of windows"),
        ({"consistent": 1}, "the labels of tiny are flat"),
        ({"format": "parquet", "top": 5}, "parquet has every label's score"),
        ({"wait": -1}, "wait is '-1'"),
    ],
)
def test_wrong_wishes_are_one_clear_line(
    client: httpx.Client, sounds: list[Path], query: dict[str, Any], said: str
) -> None:
    answer = send(client, sounds[0], **query)
    assert answer.status_code == 400 and list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith(said)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"path": 3}', b'{"path": "a", "more": 1}', b'{"url": "http://x"}', b"\xff", b""]
)
def test_other_json_than_a_path_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/v1/tag", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and 'expected {"path": "below/the/root.wav"}' in answer.json()["error"]


def test_a_broken_recording_is_named_as_the_client_names_it(
    running: tuple[str, Service], client: httpx.Client
) -> None:
    answer = client.post("/v1/tag", files={"file": ("take 1.wav", b"RIFF\0\0\0\0no wave at all" * 9)})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("take 1.wav: ")
    assert str(running[1].data) not in answer.text and running[1].data.name not in answer.text


def test_what_was_wrong_with_a_recording_is_said_with_its_tags(client: httpx.Client) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 8000, format="WAV")
    cut = buffer.getvalue()[:-9001]
    answer = client.post("/v1/tag", files={"file": ("cut.wav", cut)})
    (warning,) = answer.json()["warnings"]
    assert warning.startswith("cut.wav: ")
    lines = client.post("/v1/tag?format=jsonl", files={"file": ("cut.wav", cut)}).json()
    assert "warnings" not in lines and lines["tags"] == answer.json()["tags"]


def test_a_long_recording_becomes_a_job_whose_result_is_had_later(
    client: httpx.Client, model: Path, sounds: list[Path], held: threading.Event
) -> None:
    answer = send(client, sounds[3], wait=0.1, windows=True)
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["status"] == f"jobs/{accepted['job']}" == answer.headers["location"]
    early = client.get(where(accepted) + "/result")
    assert early.status_code == 409 and early.headers["retry-after"] == "1"
    state = client.get(where(accepted)).json()
    assert state["state"] in ("queued", "running") and state["name"] == sounds[3].name
    held.set()
    wait_until(lambda: client.get(where(accepted)).json()["state"] == "done")
    state = client.get(where(accepted)).json()
    assert state["progress"]["heard"] == state["progress"]["duration"] > 2 and state["error"] is None
    wanted = expected(model, sounds[3], windows=True)
    for _ in range(2):
        assert client.get(where(accepted) + "/result").json() == wanted
    csv = client.get(where(accepted) + "/result?format=csv").text
    assert csv.startswith("path,start,end,label,score\n") and csv.count("\n") > 8
    assert client.get(where(accepted) + "/result?format=parquet").status_code == 400
    assert client.delete(where(accepted)).status_code == 204
    for method, address in (("GET", ""), ("GET", "/result"), ("DELETE", "")):
        assert client.request(method, where(accepted) + address).status_code == 404


def test_a_format_that_says_when_needs_a_job_that_knows_it(client: httpx.Client, sounds: list[Path]) -> None:
    job = send(client, sounds[0], wait=0).json()
    wait_until(lambda: client.get(where(job)).json()["state"] == "done")
    answer = client.get(where(job) + "/result?format=webvtt")
    assert (
        answer.status_code == 400 and "send the recording again with windows=true" in answer.json()["error"]
    )
    assert client.get(where(job) + "/result?format=jams").status_code == 200


def test_a_failed_job_says_why(client: httpx.Client) -> None:
    job = client.post("/v1/tag?wait=0", files={"file": ("a.wav", b"no sound" * 99)}).json()
    wait_until(lambda: client.get(where(job)).json()["state"] == "failed")
    assert client.get(where(job)).json()["error"].startswith("a.wav: ")
    answer = client.get(where(job) + "/result")
    assert answer.status_code == 422 and answer.json()["error"].startswith("a.wav: ")


def test_a_job_that_is_ended_while_it_runs_leaves_nothing(
    running: tuple[str, Service], client: httpx.Client, sounds: list[Path], held: threading.Event
) -> None:
    service = running[1]
    before = set((service.data / "jobs").iterdir())
    jobs = [send(client, path, wait=0).json() for path in sounds]
    wait_until(lambda: service.jobs.counts()["running"] == 2)
    for job in jobs:
        assert client.delete(where(job)).status_code == 204
    held.set()
    wait_until(lambda: service.jobs.idle)
    wait_until(lambda: not list((service.data / "uploads").iterdir()))
    wait_until(lambda: set((service.data / "jobs").iterdir()) == before)


def test_a_client_that_goes_away_is_not_worked_for(
    running: tuple[str, Service], sounds: list[Path], held: threading.Event
) -> None:
    service = running[1]
    before = sum(service.jobs.counts().values())
    with httpx.Client(base_url=running[0], timeout=0.5) as client, contextlib.suppress(httpx.ReadTimeout):
        send(client, sounds[0], wait=60)
        raise AssertionError("it was answered")
    wait_until(lambda: sum(service.jobs.counts().values()) == before)
    held.set()
    wait_until(lambda: not list((service.data / "uploads").iterdir()))


def test_a_full_queue_is_429_and_says_when_to_come_back(model: Path, sounds: list[Path]) -> None:
    with serving(model=str(model), queue=2, jobs_at_once=1, grace_seconds=0.0) as (address, service):
        go, inner = threading.Event(), service.scorer._runner

        class Held:
            def run(self, waveforms: np.ndarray) -> Any:
                go.wait(30)
                return inner.run(waveforms)

        service.scorer._runner = Held()
        with httpx.Client(base_url=address, timeout=30) as client:
            first = send(client, sounds[0], wait=0)
            wait_until(lambda: service.jobs.counts()["running"] == 1)
            answers = [first] + [send(client, sounds[0], wait=0) for _ in range(5)]
            assert [answer.status_code for answer in answers] == [202] * 3 + [429] * 3
            for answer in answers[3:]:
                assert "ask again later" in answer.json()["error"] and int(answer.headers["retry-after"]) >= 1
            assert len(list((service.data / "uploads").iterdir())) == 3
            go.set()
            for answer in answers[:3]:
                wait_until(lambda a=answer: client.get(where(a.json())).json()["state"] == "done")
            assert send(client, sounds[0]).status_code == 200


def test_what_is_not_there_is_one_line_of_json(client: httpx.Client) -> None:
    answers = [client.get("/v1/nonesuch"), client.put("/v1/tag"), client.get("/v1/jobs/x"), client.get("/no")]
    assert [answer.status_code for answer in answers] == [404, 405, 404, 404]
    for answer in answers:
        assert list(answer.json()) == ["error"] and "\n" not in answer.json()["error"]
    assert answers[1].headers["allow"] == "POST"


def test_a_mistake_of_ours_is_500_and_tells_nothing(
    running: tuple[str, Service],
    client: httpx.Client,
    sounds: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(waveforms: np.ndarray) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr(running[1].scorer._runner, "run", broken)
    answer = send(client, sounds[0])
    assert answer.status_code == 500 and "secret" not in answer.text
    assert any("KeyError" in str(record.exc_info) for record in caplog.records)


def test_a_full_disk_is_507(
    running: tuple[str, Service], client: httpx.Client, sounds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Job) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/place")

    monkeypatch.setattr(Job, "save", full)
    answer = send(client, sounds[0])
    assert answer.status_code == 507 and "secret" not in answer.text
    assert not list((running[1].data / "uploads").iterdir())


def test_the_description_tells_every_answer(client: httpx.Client) -> None:
    said = client.get("/openapi.json").json()
    post = said["paths"]["/v1/tag"]["post"]
    assert {"200", "202", "400", "403", "413", "422", "429", "503"} <= set(post["responses"])
    assert set(post["requestBody"]["content"]) >= {"multipart/form-data", "application/json", "audio/*"}
    for path in said["paths"].values():
        for operation in path.values():
            refused = [one for status, one in operation["responses"].items() if status >= "400"]
            for response in refused:
                schema = json.dumps(response["content"]["application/json"])
                assert "#/components/schemas/Error" in schema, operation["operationId"]


def test_an_answer_does_not_wait_longer_than_it_was_told(
    client: httpx.Client, sounds: list[Path], held: threading.Event
) -> None:
    began = time.monotonic()
    assert send(client, sounds[0], wait=0.3).status_code == 202
    assert 0.25 < time.monotonic() - began < 5


def test_tiny_models_window_is_what_these_tests_take_it_for() -> None:
    assert tiny_model.WINDOW / tiny_model.RATE == 0.25
