"""Recordings behind the page: kept, found by their visitor only, drawn, played, corrected and exported."""

import io
import json
import os
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import tiny_model
from films import film
from serving import served, serving, wait_until

from auricle import formats
from auricle.cli import main
from auricle.datasets.manifest import manifest
from auricle.serve.state import Service
from auricle.shards import Pack

NAME = 'Möwe; "a" 100% <b>.wav'
SECONDS = 5.3


def noise(path: Path, seconds: float = SECONDS, rate: int = 11025) -> Path:
    rng = np.random.default_rng(int(seconds * 1000))
    level = np.abs(np.sin(np.arange(round(seconds * rate)) / rate * 2))
    soundfile.write(path, level * rng.uniform(-1, 1, len(level)), rate)
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise(tmp_path_factory.mktemp("sound") / "sound.wav")


@pytest.fixture(scope="module")
def running(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Service]]:
    with serving(model=str(model), threads=1, data=tmp_path_factory.mktemp("data")) as found:
        yield found


def visitor(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=60)


@pytest.fixture(scope="module")
def client(running: tuple[str, Service]) -> Iterator[httpx.Client]:
    with visitor(running[0]) as client:
        yield client


def upload(client: httpx.Client, path: Path, name: str = NAME) -> str:
    answer = client.post("/v1/recordings", files={"file": (name, path.read_bytes())})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"recordings/{answer.json()['id']}"
    return str(answer.json()["id"])


def finished(client: httpx.Client, id: str) -> dict[str, Any]:
    about: dict[str, Any] = {}

    def ended() -> bool:
        about.update(client.get(f"/v1/recordings/{id}").json())
        return about["state"] not in ("queued", "running", "interrupted")

    wait_until(ended, 60)
    return about


@pytest.fixture(scope="module")
def recording(client: httpx.Client, sound: Path) -> str:
    """The address of a recording that is tagged."""
    id = upload(client, sound)
    assert finished(client, id)["state"] == "done"
    return f"/v1/recordings/{id}"


@pytest.fixture
def corrections(client: httpx.Client, recording: str) -> Iterator[str]:
    """The address of the corrections, of which there are none before and after."""
    address = f"{recording}/corrections"
    assert client.get(address).json() == {"corrections": []}
    yield address
    for one in client.get(address).json()["corrections"]:
        assert client.delete(f"{address}/{one['id']}").status_code == 204


@pytest.fixture
def command_line(
    model: Path,
    sound: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """What `auricle tag` prints of the recording."""
    (tmp_path / NAME).symlink_to(sound)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["tag", "--model", str(model), "--quiet", "--threads", "1", *arguments, "--", NAME])
        assert not ended.value.code
        return capsys.readouterr().out

    return run


def test_a_recording_says_what_the_page_needs(client: httpx.Client, recording: str, sound: Path) -> None:
    about = client.get(recording).json()
    assert about["name"] == NAME and about["bytes"] == sound.stat().st_size
    assert about["duration"] == pytest.approx(SECONDS, abs=1e-3) and about["kind"] == "audio"
    assert about["error"] is None and about["job"] is None and about["warnings"] == []
    assert about["playable"] is True and about["corrections"] == 0
    assert (about["hop"], about["window"]) == (0.25, 0.25)
    assert about["spectrogram"]["bands"] == 96 and about["spectrogram"]["levels"] == 3
    assert about["created"] <= about["expires"]
    assert [tag["label"] for tag in about["tags"]]
    assert client.get("/v1/recordings").json()["recordings"] == [about]


def test_tags_of_the_whole_are_those_of_the_command_line(
    client: httpx.Client, recording: str, command_line: Callable[..., str]
) -> None:
    expected = json.loads(command_line("--format", "jsonl", "--threshold", "0"))
    about = client.get(recording).json()
    assert about["tags"] == expected["tags"] and about["duration"] == expected["duration"]


OPTIONS: list[tuple[dict[str, str], list[str]]] = [
    ({}, []),
    ({"hop": "0.25"}, ["--hop", "0.25"]),
    ({"threshold": "0.37"}, ["--set", "onset=0.37"]),
]


FORMATS = sorted({*formats.SUFFIXES, "table"} - {"parquet"})


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_is_to_the_byte_what_the_command_line_writes(
    format: str, client: httpx.Client, recording: str, command_line: Callable[..., str]
) -> None:
    query, arguments = OPTIONS[FORMATS.index(format) % len(OPTIONS)]
    answer = client.get(f"{recording}/export", params={"format": format} | query)
    assert answer.status_code == 200, answer.text
    expected = command_line("--format", format, "--events", *arguments)
    assert answer.content.decode() == expected and expected


def test_parquet_has_every_score_as_the_command_line_has_it(
    client: httpx.Client, recording: str, command_line: Callable[..., str], tmp_path: Path
) -> None:
    import pyarrow.parquet

    command_line("--format", "parquet", "--out", str(tmp_path / "out.parquet"))
    expected = (tmp_path / "out.parquet").read_bytes()
    answer = client.get(f"{recording}/export", params={"format": "parquet", "threshold": "0.5"})
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    tables = [pyarrow.parquet.read_table(io.BytesIO(content)) for content in (answer.content, expected)]
    assert tables[0].equals(tables[1]) and tables[0].schema.metadata == tables[1].schema.metadata


def test_an_export_comes_as_a_file_that_no_name_breaks(client: httpx.Client, recording: str) -> None:
    answer = client.get(f"{recording}/export", params={"format": "csv"})
    value = answer.headers["content-disposition"]
    assert value.startswith("attachment; filename=\"M_we_ _a_ 100_ _b_.csv\"; filename*=UTF-8''M%C3%B6we")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"


def test_corrections_are_kept_changed_and_taken_back(client: httpx.Client, corrections: str) -> None:
    made = client.post(corrections, json={"label": " dog ", "start": 0, "end": 0.5, "verdict": "wrong"})
    assert made.status_code == 201, made.text
    one = made.json()
    assert {name: one[name] for name in ("label", "start", "end", "verdict")} == {
        "label": "dog",
        "start": 0.0,
        "end": 0.5,
        "verdict": "wrong",
    }
    other = client.post(corrections, json={"label": "owl", "start": 1, "end": 99e-1, "verdict": "added"})
    assert other.status_code == 400 and "where the recording ends" in other.json()["error"]
    other = client.post(
        corrections, json={"label": "owl", "start": 1, "end": SECONDS + 0.5, "verdict": "added"}
    )
    assert other.json()["end"] == pytest.approx(SECONDS, abs=1e-3)  # a player may think it longer
    changed = client.patch(f"{corrections}/{one['id']}", json={"verdict": "right", "end": 0.75})
    assert changed.json() == one | {"verdict": "right", "end": 0.75}
    found = client.get(corrections).json()["corrections"]
    assert [each["label"] for each in found] == ["owl", "dog"]  # what was changed counts as said last
    assert client.get(corrections.removesuffix("/corrections")).json()["corrections"] == 2
    assert client.delete(f"{corrections}/{one['id']}").status_code == 204
    assert client.delete(f"{corrections}/{one['id']}").status_code == 404
    assert client.patch(f"{corrections}/{one['id']}", json={"verdict": "right"}).status_code == 404


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"label": "a;b"}, "separates labels"),
        ({"label": "  "}, "one line of text"),
        ({"label": "a\nb"}, "one line of text"),
        ({"label": "a\u202eb"}, "one line of text"),
        ({"label": "x" * 101}, "at most 100"),
        ({"label": "\ud800"}, "label"),
        ({"label": 5}, "valid string"),
        ({"start": -1}, "greater than or equal to 0"),
        ({"start": True}, "start is 'True'; input should be a valid number"),
        ({"end": "1"}, "valid number"),
        ({"start": None}, "valid number"),
        ({"start": 2.0, "end": 2.0}, "more than start"),
        ({"end": 1e300}, "end is"),
        ({"verdict": "maybe"}, "'right', 'wrong' or 'added'"),
        ({"more": 1}, "not permitted"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    change: dict[str, Any], line: str, client: httpx.Client, corrections: str
) -> None:
    body = {"label": "dog", "start": 0.0, "end": 0.5, "verdict": "right"} | change
    content = json.dumps(body)
    answer = client.post(corrections, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and line in answer.json()["error"], answer.text
    assert client.patch(f"{corrections}/none", json={"verdict": "right"}).status_code == 404


def test_exports_have_what_was_corrected(client: httpx.Client, recording: str, corrections: str) -> None:
    query = {"format": "jsonl", "threshold": "0.3"}
    before = client.get(f"{recording}/export", params=query).json()
    first = before["events"][0]
    for label, start, end, verdict in (
        (first["label"], first["start"], first["end"], "wrong"),
        ('=owl, "1"', 0.5, 1.0, "added"),
    ):
        body = {"label": label, "start": start, "end": end, "verdict": verdict}
        assert client.post(corrections, json=body).status_code == 201
    after = client.get(f"{recording}/export", params=query).json()
    owl = {"start": 0.5, "end": 1.0, "label": '=owl, "1"', "score": 1.0}
    expected = [event for event in before["events"] if event != first] + [owl]
    assert sorted(map(str, after["events"])) == sorted(map(str, expected))
    assert after["tags"] == before["tags"]
    plain = client.get(f"{recording}/export", params=query | {"corrections": "false"}).json()
    assert plain == before
    for format in (*formats.SUFFIXES, "table"):
        answer = client.get(f"{recording}/export", params={"format": format})
        assert answer.status_code == 200 and b"owl" in answer.content, format


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.8])
def test_what_was_said_wrong_is_silent_at_any_threshold_and_nothing_else_is(
    threshold: float, client: httpx.Client, recording: str, corrections: str, tmp_path: Path
) -> None:
    import pyarrow.parquet

    query = {"format": "jsonl", "threshold": threshold}
    before = client.get(f"{recording}/export", params=query).json()["events"]
    said = {"label": "clock", "start": 1.25, "end": 2.75, "verdict": "wrong"}  # of a sound at one threshold
    assert client.post(corrections, json=said).status_code == 201
    after = client.get(f"{recording}/export", params=query).json()["events"]
    quarters = np.arange(0.125, SECONDS, 0.25)  # the middles of windows

    def heard(events: list[dict[str, Any]], label: str) -> list[float]:
        own = [one for one in events if one["label"] == label]
        return [at for at in quarters if any(one["start"] < at < one["end"] for one in own)]

    for label in tiny_model.LABELS:
        left = [at for at in heard(before, label) if label != "clock" or not 1.25 < at < 2.75]
        assert heard(after, label) == left
    for format in sorted(set(formats.SUFFIXES) - {"jsonl", "parquet"}):  # the same events in each
        plain = client.get(f"{recording}/export", params=query | {"format": format, "corrections": False})
        cut = client.get(f"{recording}/export", params=query | {"format": format})
        assert (cut.text == plain.text) == (before == after), format
    rows = client.get(f"{recording}/export", params=query | {"format": "manifest", "judged": False}).text
    (row,) = [line for line in rows.splitlines() if line.startswith(f'"{NAME[:7]}') and ",1.25,2.75," in line]
    assert row.endswith("clock") and ",1.25,2.75,clock" not in row
    content = client.get(f"{recording}/export", params=query | {"format": "parquet"}).content
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    place = list(tiny_model.LABELS).index("clock")
    for start, end, scores in zip(
        *(table[name].to_pylist() for name in ("start", "end", "scores")), strict=True
    ):
        assert (scores[place] == 0) == (1.25 <= start and end <= 2.75)


def test_the_manifest_is_one_that_pack_reads(
    client: httpx.Client, recording: str, corrections: str, sound: Path, tmp_path: Path
) -> None:
    for address in (
        f"{recording}/export?format=manifest",
        "/v1/export/manifest",
        "/v1/export/manifest?audio=1",
    ):
        answer = client.get(address)
        assert answer.status_code == 409 and "nothing is judged yet" in answer.json()["error"]
    for label, start, verdict in (("dog", 0.0, "right"), ("rain", 0.0, "wrong"), ("owl, grey", 2.0, "added")):
        body = {"label": label, "start": start, "end": start + 1, "verdict": verdict}
        assert client.post(corrections, json=body).status_code == 201
    alone = client.get(f"{recording}/export?format=manifest")
    lines = alone.text.splitlines()
    assert lines[0] == "path,start,end,labels,no" and len(lines) == 3 and lines[1].endswith(",0,1,dog,rain")
    answer = client.get("/v1/export/manifest?audio=true")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    clips = manifest(tmp_path / "manifest.csv")
    assert [(clip.start, clip.end, clip.labels) for clip in clips] == [
        (0, 1, ("dog",)),
        (2, 3, ("owl, grey",)),
    ]
    assert {Path(clip.path).read_bytes() for clip in clips} == {sound.read_bytes()}
    with pytest.raises(SystemExit) as ended:
        main(["pack", str(tmp_path / "manifest.csv"), str(tmp_path / "pack"), "--quiet"])
    assert not ended.value.code
    pack = Pack(tmp_path / "pack")
    assert len(pack) == 2 and {*pack.label_names()} == {"dog", "owl, grey"}


def test_names_in_manifests_are_those_of_the_files_they_are_about(
    running: tuple[str, Service], sound: Path, tmp_path: Path
) -> None:
    """As on the disk of who sent them, where the table alone is asked for; as in the archive, with that."""
    names = ["Take 12:30?.wav", "take.wav", "Take.wav"]
    own, unpacked = tmp_path / "own", tmp_path / "unpacked"
    own.mkdir()
    said = {"label": "dog", "start": 0.0, "end": 0.5, "verdict": "right"}
    with visitor(running[0]) as client:
        for name in names:
            (own / name).write_bytes(sound.read_bytes())
            id = upload(client, sound, name)
            finished(client, id)
            assert client.post(f"/v1/recordings/{id}/corrections", json=said).status_code == 201
            one = client.get(f"/v1/recordings/{id}/export?format=manifest").text.splitlines()
            assert one[1] == f"{name},0,0.5,dog,"
        (own / "manifest.csv").write_bytes(client.get("/v1/export/manifest").content)
        with zipfile.ZipFile(io.BytesIO(client.get("/v1/export/manifest?audio=true").content)) as archive:
            archive.extractall(unpacked)
    assert [Path(clip.path).name for clip in manifest(own / "manifest.csv")] == names
    portable = ["Take 12_30_.wav", "take.wav", "Take (2).wav"]
    assert [Path(clip.path).name for clip in manifest(unpacked / "manifest.csv")] == portable
    for folder in (own, unpacked):
        assert all(Path(clip.path).read_bytes() for clip in manifest(folder / "manifest.csv"))
    with pytest.raises(SystemExit) as ended:
        main(["pack", str(own / "manifest.csv"), str(tmp_path / "pack"), "--quiet"])
    assert not ended.value.code and len(Pack(tmp_path / "pack")) == 3


def test_a_visitor_has_their_own_recordings_and_no_others(
    running: tuple[str, Service], client: httpx.Client, recording: str, sound: Path
) -> None:
    parts = ["", "/media", "/labels", "/events", "/corrections", "/export", "/spectrogram/0/0.png"]
    parts += ["/peaks?from=0&to=1&columns=9", "/scores?from=0&to=1&columns=9&labels=0"]
    body = {"label": "dog", "start": 0.0, "end": 0.5, "verdict": "right"}
    kept = client.get(recording).json()
    with visitor(running[0]) as other:
        for _ in range(2):  # without a cookie, and with one of their own
            for part in parts:
                answer = other.get(recording + part)
                assert answer.status_code == 404 and "no recording" in answer.json()["error"], part
            assert other.delete(recording).status_code == 404
            assert other.post(f"{recording}/corrections", json=body).status_code == 404
            assert other.patch(f"{recording}/corrections/x", json={"verdict": "right"}).status_code == 404
            assert other.delete(f"{recording}/corrections/x").status_code == 404
            assert other.head(f"{recording}/media").status_code == 404
            assert other.get("/v1/recordings").json() == {"recordings": []}
        own = upload(other, sound, "own.wav")
        assert [one["id"] for one in other.get("/v1/recordings").json()["recordings"]] == [own]
        assert client.get(f"/v1/recordings/{own}").status_code == 404
        other.delete(f"/v1/recordings/{own}")
    assert client.get(recording).json() | {"expires": 0} == kept | {"expires": 0}


def test_the_cookie_is_for_the_service_alone_and_its_file_does_not_have_it(
    running: tuple[str, Service], client: httpx.Client, recording: str
) -> None:
    answer = httpx.get(f"{running[0]}/v1/recordings")
    cookie = answer.headers["set-cookie"]
    for rule in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age="):
        assert rule in cookie
    ((name, value),) = client.cookies.items()
    assert name.startswith("auricle_visitor_")
    library = b"".join(path.read_bytes() for path in running[1].data.glob("library.sqlite*"))
    assert recording.rsplit("/", 1)[1].encode() in library and value.encode() not in library
    for strange in ("x", "a" * 43 + "=", "../" * 14 + "a", ""):
        answer = httpx.get(f"{running[0]}/v1/recordings", cookies={name: strange})
        assert answer.json() == {"recordings": []} and f"{name}=" in answer.headers["set-cookie"]
    former = httpx.get(f"{running[0]}/v1/recordings", cookies={"auricle_visitor": value})  # without the mark
    assert recording.rsplit("/", 1)[1] in former.text and f"{name}={value};" in former.headers["set-cookie"]


def test_media_come_whole_or_in_parts(client: httpx.Client, recording: str, sound: Path) -> None:
    content, address = sound.read_bytes(), f"{recording}/media"
    whole = client.get(address)
    assert whole.status_code == 200 and whole.content == content
    assert whole.headers["content-type"] == "audio/wav" and whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-disposition"].startswith('inline; filename="M_we')
    assert whole.headers["x-content-type-options"] == "nosniff"
    mark, changed = whole.headers["etag"], whole.headers["last-modified"]
    head = client.head(address, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(content))
    for asked, part in (("5-9", slice(5, 10)), ("-7", slice(-7, None)), ("100-", slice(100, None))):
        for more in ({}, {"If-Range": mark}, {"If-Range": changed}):
            answer = client.get(address, headers={"Range": f"bytes={asked}"} | more)
            assert (answer.status_code, answer.content) == (206, content[part])
            first = range(len(content))[part][0]
            last = first + len(answer.content) - 1
            assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"
            assert answer.headers["content-length"] == str(len(answer.content))
    for more in ({"If-Range": '"other"'}, {"If-Range": f"W/{mark}"}, {"Range": "bytes=0-1,3-4"}):
        answer = client.get(address, headers={"Range": "bytes=5-9"} | more)
        assert (answer.status_code, answer.content) == (200, content)
    beyond = client.get(address, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416 and beyond.headers["content-range"] == f"bytes */{len(content)}"
    assert client.get(address, headers={"If-None-Match": f'"x", W/{mark}'}).status_code == 304
    assert client.get(address, headers={"If-None-Match": '"x"'}).status_code == 200


def test_what_browsers_do_not_play_gets_a_copy(client: httpx.Client, tmp_path: Path) -> None:
    path = noise(tmp_path / "a.aiff", 2.0)
    id = upload(client, path, path.name)
    about = finished(client, id)
    assert about["state"] == "done" and about["playable"] and about["kind"] == "audio", about
    answer = client.get(f"/v1/recordings/{id}/media")
    assert answer.headers["content-type"] == "audio/mpeg"
    (tmp_path / "copy.mp3").write_bytes(answer.content)
    assert soundfile.info(tmp_path / "copy.mp3").duration == pytest.approx(about["duration"], abs=0.2)
    assert client.delete(f"/v1/recordings/{id}").status_code == 204


def test_a_film_is_shown_as_one(client: httpx.Client, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", seconds=2.0, size=(64, 48))
    id = upload(client, path, path.name)
    about = finished(client, id)
    assert about["state"] == "done" and about["kind"] == "video" and about["playable"], about
    answer = client.get(f"/v1/recordings/{id}/media")
    assert answer.content == path.read_bytes() and answer.headers["content-type"] == "video/mp4"
    client.delete(f"/v1/recordings/{id}")


@pytest.mark.parametrize(
    ("name", "sound", "kind", "type"),
    [
        ("a.avi", "aac", "audio", "audio/mpeg"),
        ("a.mkv", "aac", "audio", "audio/mpeg"),
        ("a.mkv", "libopus", "video", "video/webm"),
        ("a.mov", "aac", "video", "video/mp4"),
    ],
)
def test_a_film_is_shown_where_browsers_play_the_file(
    name: str, sound: str, kind: str, type: str, client: httpx.Client, tmp_path: Path
) -> None:
    id = upload(client, film(tmp_path / name, seconds=2.0, size=(64, 48), sound=sound), name)
    about = finished(client, id)
    assert about["state"] == "done" and about["kind"] == kind and about["playable"], about
    assert client.get(f"/v1/recordings/{id}/media").headers["content-type"] == type
    client.delete(f"/v1/recordings/{id}")


def test_files_that_go_meanwhile_are_not_there(
    client: httpx.Client, running: tuple[str, Service], sound: Path
) -> None:
    id = upload(client, sound, "gone.wav")
    finished(client, id)
    for path in (running[1].data / "recordings" / id).iterdir():
        path.unlink()
    for part in ("media", "labels", "peaks?from=0&to=1&columns=9", "export", "spectrogram/0/0.png", "events"):
        answer = client.get(f"/v1/recordings/{id}/{part}")
        assert answer.status_code == 404 and "not there any more" in answer.json()["error"], part
    client.delete(f"/v1/recordings/{id}")


def test_pictures_and_scores_come_as_numbers(client: httpx.Client, recording: str) -> None:
    peaks = client.get(f"{recording}/peaks?from=0&to=5.3&columns=100")
    assert peaks.headers["content-type"] == "application/octet-stream" and len(peaks.content) == 200
    low, high = np.frombuffer(peaks.content, np.int8).reshape(-1, 2).T
    assert (low <= 0).all() and (high >= 0).all() and high.max() > 100
    scores = client.get(f"{recording}/scores?from=0&to=10.6&columns=20&labels=2,0")
    values = np.frombuffer(scores.content, "<f4").reshape(2, 20)
    assert np.isfinite(values[:, :10]).all() and np.isnan(values[:, 11:]).all()
    labels = client.get(f"{recording}/labels").json()["labels"]
    assert [one["score"] for one in labels] == sorted((one["score"] for one in labels), reverse=True)
    for one in labels:
        assert one["label"] == tiny_model.LABELS[one["index"]]
        answer = client.get(f"{recording}/scores?from=0&to=5.3&columns=1&labels={one['index']}")
        assert np.frombuffer(answer.content, "<f4")[0] == pytest.approx(one["score"], rel=1e-5)
    tile = client.get(f"{recording}/spectrogram/0/0.png")
    assert tile.headers["content-type"] == "image/png" and tile.content.startswith(b"\x89PNG")
    assert "immutable" in tile.headers["cache-control"]
    events = client.get(f"{recording}/events?threshold=0.3&limit=2").json()
    assert len(events["events"]) == 2 < events["total"] and events["truncated"]


def test_sounds_of_a_stretch_are_those_that_reach_into_it_whole(client: httpx.Client, recording: str) -> None:
    address = f"{recording}/events?threshold=0.3"
    every = client.get(address).json()
    assert every["total"] == len(every["events"]) > 4
    for start, end in ((0.0, 1.0), (1.0, 2.5), (2.6, 2.7), (4.9, 1e6), (5.3, 9.0)):
        inside = [one for one in every["events"] if one["end"] > start and one["start"] < end]
        found = client.get(f"{address}&from={start}&to={end}").json()
        assert found == {"events": inside, "total": len(inside), "truncated": False}
        if len(inside) > 1:
            found = client.get(f"{address}&from={start}&to={end}&limit=1").json()
            assert found == {"events": inside[:1], "total": len(inside), "truncated": True}
    assert client.get(f"{address}&from=2").json()["events"] == [
        one for one in every["events"] if one["end"] > 2
    ]
    assert client.get(f"{address}&to=2").json()["events"] == [
        one for one in every["events"] if one["start"] < 2
    ]


def test_labels_that_are_no_places_are_told_in_words(client: httpx.Client, recording: str) -> None:
    for labels in ("a", "0,", "1;2", "\u0663"):
        answer = client.get(
            f"{recording}/scores", params={"from": 0, "to": 1, "columns": 9, "labels": labels}
        )
        expected = f"labels is {labels!r}; expected places in the model's list, say 3,17,20"
        assert (answer.status_code, answer.json()["error"]) == (400, expected)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("peaks?from=0&to=1&columns=4097", 400),
        ("peaks?from=1&to=1&columns=9", 400),
        ("peaks?from=-1&to=1&columns=9", 400),
        ("peaks?from=nan&to=1&columns=9", 400),
        ("peaks?from=0&to=inf&columns=9", 400),
        ("peaks?from=0&columns=9", 400),
        ("peaks?from=1e6&to=1e7&columns=9", 200),
        ("scores?from=0&to=1&columns=9&labels=3", 400),
        ("scores?from=0&to=1&columns=9&labels=", 400),
        ("scores?from=0&to=1&columns=9&labels=0,", 400),
        ("scores?from=0&to=1&columns=9&labels=" + "9" * 900, 400),
        ("scores?from=0&to=1&columns=9&labels=" + ",".join("0" * 65), 400),
        ("scores?from=0&to=1&columns=9&labels=0,0,0", 200),
        ("spectrogram/0/99.png", 404),
        ("spectrogram/9/0.png", 404),
        ("spectrogram/-1/0.png", 400),
        ("spectrogram/0/99999999999999999999.png", 400),
        ("events?threshold=2", 400),
        ("events?hop=0.3", 400),
        ("events?hop=9", 400),
        ("events?limit=0", 400),
        ("events?from=2&to=2", 400),
        ("events?from=-1", 400),
        ("events?to=nan", 400),
        ("events?from=9e6", 200),
        ("export?format=exe", 400),
        ("export?format=csv&hop=0.1", 400),
        ("nothing", 404),
    ],
)
def test_wrong_parameters_get_one_line(
    address: str, status: int, client: httpx.Client, recording: str
) -> None:
    answer = client.get(f"{recording}/{address}")
    assert answer.status_code == status, answer.text
    if status >= 400:
        line = answer.json()["error"]
        assert line and "\n" not in line


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..", "a\\b\\c.wav", "x" * 500 + ".wav", "\u202egnp.wav", "=1.wav"]
)
def test_a_hostile_name_is_a_name(
    name: str, client: httpx.Client, running: tuple[str, Service], sound: Path
) -> None:
    id = upload(client, sound, name)
    about = finished(client, id)
    assert about["state"] == "done" and "/" not in about["name"] and len(about["name"]) <= 200
    assert (running[1].data / "recordings" / id / "upload").is_file()
    body = {"label": "dog", "start": 0.0, "end": 0.5, "verdict": "right"}
    assert client.post(f"/v1/recordings/{id}/corrections", json=body).status_code == 201
    with zipfile.ZipFile(io.BytesIO(client.get("/v1/export/manifest?audio=true").content)) as archive:
        for entry in archive.namelist():
            assert ".." not in Path(entry).parts and not entry.startswith("/") and "\\" not in entry
    assert client.get(f"/v1/recordings/{id}/media").status_code == 200
    assert client.delete(f"/v1/recordings/{id}").status_code == 204
    assert not (running[1].data / "recordings" / id).exists()


def test_what_cannot_be_read_says_why_and_takes_no_room(
    client: httpx.Client, running: tuple[str, Service], tmp_path: Path
) -> None:
    (tmp_path / "broken").write_bytes(b"RIFF" + b"no sound" * 500)
    id = upload(client, tmp_path / "broken", "broken.wav")
    about = finished(client, id)
    assert about["state"] == "failed" and about["error"].startswith("broken.wav: ") and not about["playable"]
    folder = running[1].data / "recordings" / id  # emptied once a request notes the end of the job
    wait_until(lambda: finished(client, id) and not list(folder.iterdir()))
    for part in ("media", "labels", "peaks?from=0&to=1&columns=9", "export", "spectrogram/0/0.png"):
        answer = client.get(f"/v1/recordings/{id}/{part}")
        assert answer.status_code == 409 and "broken.wav: " in answer.json()["error"]
    client.delete(f"/v1/recordings/{id}")


def test_a_recording_that_is_removed_ends_its_job(
    client: httpx.Client, running: tuple[str, Service], tmp_path: Path
) -> None:
    service = running[1]
    id = upload(client, noise(tmp_path / "long.wav", 400.0))
    assert client.get(f"/v1/recordings/{id}/labels").status_code == 409
    assert client.delete(f"/v1/recordings/{id}").status_code == 204
    wait_until(lambda: service.jobs.idle)
    assert client.get(f"/v1/recordings/{id}").status_code == 404
    assert not (service.data / "recordings" / id).exists()
    assert not list((service.data / "jobs").iterdir()) or service.jobs.counts()["running"] == 0


def test_a_job_that_is_ended_leaves_a_recording_that_says_so(client: httpx.Client, tmp_path: Path) -> None:
    answer = client.post(
        "/v1/recordings", files={"file": ("a.wav", noise(tmp_path / "a.wav", 400.0).read_bytes())}
    )
    assert client.delete(f"/v1/jobs/{answer.json()['job']}").status_code == 204
    about = finished(client, answer.json()["id"])
    assert about["state"] == "cancelled"
    client.delete(f"/v1/recordings/{about['id']}")


def test_recordings_that_nobody_looks_at_go(
    client: httpx.Client, running: tuple[str, Service], sound: Path
) -> None:
    library = running[1].library
    id = upload(client, sound, "old.wav")
    finished(client, id)
    day = 24 * 3600.0
    library.expire(time.time() + day - 120)
    assert client.get(f"/v1/recordings/{id}").status_code == 200
    library.database.change("UPDATE recordings SET touched = ? WHERE id = ?", time.time() - day + 5, id)
    assert client.get(f"/v1/recordings/{id}").status_code == 200  # which is looking at it
    library.expire(time.time() + 10)
    assert client.get(f"/v1/recordings/{id}").status_code == 200
    library.database.change("UPDATE recordings SET touched = ? WHERE id = ?", time.time() - day - 5, id)
    library.expire(time.time())
    assert client.get(f"/v1/recordings/{id}").status_code == 404
    assert not (running[1].data / "recordings" / id).exists()


def test_what_finds_no_room_says_so(model: Path, tmp_path: Path) -> None:
    path = noise(tmp_path / "a.wav", 60.0)
    size = path.stat().st_size
    with serving(model=str(model), threads=1, max_data_bytes=size + 100_000) as (address, service):
        with visitor(address) as client:
            about = finished(client, upload(client, path))
            assert about["state"] == "failed" and "keeps no more than" in about["error"]
            wait_until(lambda: not list((service.data / "recordings" / about["id"]).iterdir()))
            assert finished(client, upload(client, noise(tmp_path / "b.wav", 1.0)))["state"] == "done"


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_kill_loses_no_correction_and_no_recording(model: Path, tmp_path: Path) -> None:
    data, arguments = tmp_path / "data", ("--model", str(model), "--threads", "1")
    path, long = noise(tmp_path / "a.wav"), noise(tmp_path / "long.wav", 40.0)
    said: list[str] = []
    with served(*arguments, "--data", str(data)) as (address, process), visitor(address) as client:
        id = upload(client, path, "a.wav")
        finished(client, id)
        for number in range(20):
            body = {"label": f"label {number}", "start": 0.0, "end": 1.0, "verdict": "added"}
            said.append(client.post(f"/v1/recordings/{id}/corrections", json=body).json()["id"])
        waiting = upload(client, long, "long.wav")
        process.send_signal(signal.SIGKILL)
        process.wait()
        cookies = client.cookies
    (data / "recordings" / "orphan").mkdir()
    with served(*arguments, "--data", str(data)) as (address, process):
        with httpx.Client(base_url=address, cookies=dict(cookies), timeout=60) as client:
            found = client.get(f"/v1/recordings/{id}/corrections").json()["corrections"]
            assert [one["id"] for one in found] == said
            assert client.get(f"/v1/recordings/{id}").json()["state"] == "done"
            assert finished(client, waiting)["state"] == "done"  # it was taken up again
            assert client.get(f"/v1/recordings/{id}/media").content == path.read_bytes()
            assert not (data / "recordings" / "orphan").exists()


def test_another_model_does_not_speak_for_this_one(model: Path, tmp_path: Path, sound: Path) -> None:
    data = tmp_path / "data"
    with serving(model=str(model), threads=1, data=data) as (address, _), visitor(address) as client:
        id = upload(client, sound, "a.wav")
        finished(client, id)
        body = {"label": "dog", "start": 0.0, "end": 0.5, "verdict": "right"}
        client.post(f"/v1/recordings/{id}/corrections", json=body)
        cookies = dict(client.cookies)
    tiny_model.save(tmp_path / "other", labels=["a", "b", "c"])
    with serving(model=str(tmp_path / "other"), threads=1, data=data) as (address, _):
        with httpx.Client(base_url=address, cookies=cookies) as client:
            about = client.get(f"/v1/recordings/{id}").json()
            assert about["state"] == "failed" and "tagged by another model" in about["error"]
            assert client.get(f"/v1/recordings/{id}/labels").status_code == 409
            assert client.get(f"/v1/recordings/{id}/media").status_code == 200
            assert "a.wav,0,0.5,dog" in client.get("/v1/export/manifest").text
