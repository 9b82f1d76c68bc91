"""What people say of sounds: applied to events by rules, kept in SQLite through kills, as a manifest."""

import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.serve.correcting import (
    Correction,
    Row,
    corrected,
    corrected_windows,
    manifest_rows,
    more_labels,
)
from auricle.serve.database import APPLICATION, STEPS, Database
from auricle.serve.errors import Refused
from auricle.serve.library import MOST_CORRECTIONS
from auricle.serve.ranges import Part, disposition, part_of


def event(start: float, end: float, label: str = "dog", score: float = 0.6) -> dict[str, object]:
    return {"start": start, "end": end, "label": label, "score": score}


def said(start: float, end: float, verdict: str, label: str = "dog") -> Correction:
    return Correction(label, start, end, verdict)


def test_without_corrections_events_stay_what_they_are() -> None:
    events = [event(0, 2), event(1, 3, "rain"), event(5, 6)]
    assert corrected(events, []) == events


def test_wrong_takes_its_stretch_out_of_its_own_label_only() -> None:
    events = [event(0, 2), event(0, 2, "rain"), event(4, 10)]
    assert corrected(events, [said(0, 2, "wrong")]) == [event(0, 2, "rain"), event(4, 10)]
    assert corrected(events, [said(5, 6, "wrong")])[2:] == [event(4, 5), event(6, 10)]
    assert corrected(events, [said(1, 5, "wrong")]) == [event(0, 1), event(0, 2, "rain"), event(5, 10)]
    assert corrected(events, [said(2, 4, "wrong")]) == events  # between them
    # What is left of an event has a score of its own; what is whole, or was said, keeps its own.
    own = corrected(
        [*events, event(20, 24)],
        [said(5, 6, "wrong"), said(30, 34, "added"), said(31, 32, "wrong")],
        peak=lambda label, start, end: start / 100,
    )
    assert [(e["start"], e["score"]) for e in own if e["label"] == "dog"][1:] == [
        (4, 0.04),
        (6, 0.06),
        (20, events[0]["score"]),
        (30, 1.0),
        (32, 1.0),
    ]


def test_right_and_added_put_their_stretch_in_and_join_what_they_touch() -> None:
    events = [event(2, 4), event(6, 8)]
    assert corrected(events, [said(2, 4, "right")]) == [event(2, 4, score=1.0), event(6, 8)]
    assert corrected(events, [said(4, 6, "added")]) == [event(2, 8, score=1.0)]
    assert corrected(events, [said(0, 1, "added", "cat")]) == [event(0, 1, "cat", 1.0), *events]
    assert corrected([], [said(0, 1, "right")]) == [event(0, 1, score=1.0)]  # below the threshold, and right


def test_what_is_said_later_counts() -> None:
    assert corrected([], [said(0, 4, "added"), said(1, 2, "wrong")]) == [
        event(0, 1, score=1.0),
        event(2, 4, score=1.0),
    ]
    assert corrected([], [said(1, 2, "wrong"), said(0, 4, "added")]) == [event(0, 4, score=1.0)]


def test_rules_hold_moment_by_moment() -> None:
    rng = np.random.default_rng(4)
    moments = np.arange(0, 40) + 0.5

    def heard(events: list[dict[str, object]]) -> set[tuple[str, float]]:
        return {(e["label"], m) for e in events for m in moments if e["start"] < m < e["end"]}  # type: ignore[operator,misc]

    for _ in range(200):
        spans = np.sort(rng.choice(41, (12, 2)), axis=1)
        events = monotone(
            [event(a, b, str(rng.choice(["dog", "cat"]))) for a, b in spans[:6].tolist() if a < b]
        )
        corrections = [
            said(a, b, str(rng.choice(["right", "wrong", "added"])), str(rng.choice(["dog", "cat", "owl"])))
            for a, b in spans[6:].tolist()
            if a < b
        ]
        expected = heard(events)
        for one in corrections:
            own = {(one.label, m) for m in moments if one.start < m < one.end}
            expected = expected - own if one.verdict == "wrong" else expected | own
        assert heard(corrected(events, corrections)) == expected


def test_windows_score_what_was_said_and_labels_that_the_model_lacks_follow_its_own() -> None:
    windows = [
        {"start": float(n), "end": n + 2.0, "scores": np.array([0.25, 0.5], np.float32)} for n in range(3)
    ]
    corrections = [said(0, 2, "wrong"), said(2, 2.5, "added", "owl"), said(1, 3, "right", "rain")]
    assert more_labels(["dog", "rain"], corrections) == ["owl"]
    found = [w["scores"].tolist() for w in corrected_windows(windows, ["dog", "rain"], corrections)]
    assert found == [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.25, 1.0, 1.0]]


def test_a_manifest_has_a_row_for_each_stretch_that_was_judged() -> None:
    corrections = [
        said(0, 2, "right"),
        said(0, 2, "wrong", "cat"),
        said(0.5, 1, "added", "owl"),
        said(4, 6, "wrong"),
        said(4, 6, "right"),  # another opinion
    ]
    assert list(manifest_rows(corrections)) == [
        Row(0, 2, ("dog", "owl"), ("cat",)),
        Row(0.5, 1, ("dog", "owl"), ("cat",)),
        Row(4, 6, ("dog",), ()),
    ]
    more = manifest_rows(corrections[3:4], [event(8, 9, "rain"), event(4, 6, "cat")])  # type: ignore[list-item]
    assert list(more) == [Row(4, 6, ("cat",), ("dog",)), Row(8, 9, ("rain",), ())]


def monotone(events: list[dict[str, object]]) -> list[dict[str, object]]:
    """The same, with ends in the order of the starts of each label, as those of a model."""
    events = sorted(events, key=lambda one: one["start"])  # type: ignore[arg-type, return-value]
    for label in {one["label"] for one in events}:
        own = [one for one in events if one["label"] == label]
        for one, end in zip(own, sorted(one["end"] for one in own), strict=True):  # type: ignore[type-var]
            one["end"] = end
    return events


def plainly_corrected(events: list[Any], corrections: list[Correction]) -> list[Any]:
    """Every correction against every event."""
    for c in corrections:
        start, end, left = c.start, c.end, []
        for e in events:
            apart = e["end"] <= start or e["start"] >= end
            if c.verdict != "wrong":
                apart = e["end"] < c.start - 1e-6 or e["start"] > c.end + 1e-6
            if e["label"] != c.label or apart:
                left.append(e)
            elif c.verdict == "wrong":
                rests = ((e["start"], c.start), (c.end, e["end"]))
                left += [e | {"start": a, "end": b} for a, b in rests if b - a > 1e-6]
        if c.verdict != "wrong":
            met = [e for e in events if not any(e is one for one in left)]
            start, end = min([start, *(e["start"] for e in met)]), max([end, *(e["end"] for e in met)])
            left.append({"start": start, "end": end, "label": c.label, "score": 1.0})
        events = left
    return sorted(events, key=lambda e: (e["start"], e["label"]))


def plainly_shares(c: Correction, start: float, end: float) -> bool:
    common = min(c.end, end) - max(c.start, start)
    return common > 0 and common >= 0.5 * min(c.end - c.start, end - start) - 1e-6


def random_case(rng: np.random.Generator) -> tuple[list[Any], list[Correction]]:
    """Events and corrections that meet, touch, nearly touch and repeat one another."""

    def span() -> tuple[float, float]:
        a, b = rng.integers(0, 40, 2) / 4 + rng.choice([0.0, 0.0, 9e-7, -9e-7, 2e-6], 2)
        return max(0.0, float(min(a, b))), float(max(a, b)) + float(rng.choice([0.25, 5e-7, 3.0]))

    labels = ["dog", "cat", "owl"]
    events = [event(*span(), str(rng.choice(labels)), float(rng.random())) for _ in range(rng.integers(12))]
    verdicts = ["right", "wrong", "wrong", "added"]
    corrections = [
        said(*span(), str(rng.choice(verdicts)), str(rng.choice(labels))) for _ in range(rng.integers(12))
    ]
    return monotone(events), corrections


def test_what_is_quick_is_what_comparing_all_with_all_gives() -> None:
    rng = np.random.default_rng(8)
    for _ in range(200):
        events, corrections = random_case(rng)
        found = corrected(events, corrections)
        assert found == plainly_corrected(events, corrections)
        believed = [Correction(e["label"], e["start"], e["end"], "right") for e in found]
        rows = []
        for start, end in sorted({(c.start, c.end) for c in (*believed, *corrections)}):
            pairs = [(c.label, c.verdict) for c in (*believed, *corrections) if plainly_shares(c, start, end)]
            yes, no = (
                tuple(
                    sorted(label for label, verdict in dict(pairs).items() if (verdict == "wrong") is wrong)
                )
                for wrong in (False, True)
            )
            rows.append(Row(round(start, 6), round(end, 6), yes, no))
        assert list(manifest_rows(corrections, found)) == rows
        windows = [
            {"start": n / 4, "end": n / 4 + 1.0, "scores": rng.random(2).astype(np.float32)}
            for n in range(40)
        ]
        for window, given in zip(
            windows, corrected_windows(windows, ["dog", "cat"], corrections), strict=True
        ):
            scores = dict(zip(["dog", "cat"], window["scores"].tolist(), strict=True))  # type: ignore[attr-defined]
            scores |= dict.fromkeys(more_labels(["dog", "cat"], corrections), 0.0)
            for c in corrections:
                if plainly_shares(c, window["start"], window["end"]):  # type: ignore[arg-type]
                    scores[c.label] = 0.0 if c.verdict == "wrong" else 1.0
            assert given["scores"].tolist() == list(scores.values())


def test_as_many_corrections_as_there_may_be_take_seconds() -> None:
    rng = np.random.default_rng(9)
    labels = [f"label {n:02d}" for n in range(50)]
    starts = rng.uniform(0, 5400, MOST_CORRECTIONS).tolist()
    corrections = [
        said(start, start + 1 + 100 * rng.random() ** 20, ("right", "wrong")[n % 2], labels[n % 7])
        for n, start in enumerate(starts)
    ]
    events = [event(n / 2, n / 2 + 0.4, labels[n % 50]) for n in range(3000)]
    began = time.process_time()
    found = corrected(events, corrections)  # type: ignore[arg-type]
    rows = sum(1 for _ in manifest_rows(corrections, found))
    windows = ({"start": n / 2, "end": n / 2 + 2, "scores": np.zeros(50, np.float32)} for n in range(3000))
    assert rows > MOST_CORRECTIONS and sum(1 for _ in corrected_windows(windows, labels, corrections)) == 3000
    assert time.process_time() - began < 20  # 1 here; minutes where all are compared with all


def test_long_work_ends_once_it_is_not_wanted() -> None:
    looked = 0

    def look() -> None:
        nonlocal looked
        looked += 1
        if looked == 5:
            raise InterruptedError

    many = [said(n, n + 1, "right") for n in range(100)]
    for work in (lambda: corrected([], many, look), lambda: list(manifest_rows(many, (), look))):
        looked = 0
        with pytest.raises(InterruptedError):
            work()
        assert looked == 5


def test_a_file_of_sqlite_is_ours_and_of_a_version_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    database = Database(path)
    assert database.rows("PRAGMA journal_mode")[0][0] == "wal"
    assert database.rows("PRAGMA foreign_keys")[0][0] == 1
    assert database.rows("PRAGMA synchronous")[0][0] == 2
    assert database.rows("PRAGMA user_version")[0][0] == len(STEPS)
    assert database.rows("PRAGMA application_id")[0][0] == APPLICATION
    database.close()
    Database(path).close()  # and again
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    connection.close()
    with pytest.raises(ValueError, match="use a later auricle"):
        Database(path)
    other = sqlite3.connect(tmp_path / "b.sqlite")
    other.execute("CREATE TABLE notes (text)")
    other.close()
    with pytest.raises(ValueError, match="another program"):
        Database(tmp_path / "b.sqlite")
    (tmp_path / "c.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(ValueError, match="cannot be used"):
        Database(tmp_path / "c.sqlite")


def test_a_file_of_the_first_version_gets_a_mark_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = set()
    for name in "ab":
        with monkeypatch.context() as patch:
            patch.setattr("auricle.serve.database.STEPS", STEPS[:1])
            Database(tmp_path / name).close()
        for _ in range(2):
            database = Database(tmp_path / name)
            ((mark,),) = database.rows("SELECT mark FROM service")
            marks.add(mark)
            database.close()
    assert len(marks) == 2 and all(re.fullmatch("[0-9a-f]{8}", mark) for mark in marks)


def test_a_transaction_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.sqlite")
    insert = (
        "INSERT INTO recordings (id, visitor, name, bytes, created, touched, model, fingerprint, state)"
        " VALUES (?, 'v', 'n', 1, 0, 0, 'm', 'f', 'done')"
    )
    with pytest.raises(RuntimeError), database.changing() as connection:
        connection.execute(insert, ("a",))
        raise RuntimeError
    assert not database.rows("SELECT * FROM recordings")
    database.change(insert, "b")
    with pytest.raises(sqlite3.IntegrityError):  # no such recording
        database.change(
            "INSERT INTO corrections (id, recording, label, start, end, verdict, created, changed)"
            " VALUES ('c', 'a', 'dog', 0, 1, 'right', 0, 1)"
        )
    database.close()


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.sqlite")
    (pages,) = database.rows("PRAGMA page_count")[0]
    database.rows(f"PRAGMA max_page_count = {pages + 2}")
    insert = (
        "INSERT INTO recordings (id, visitor, name, bytes, created, touched, model, fingerprint, state)"
        " VALUES (?, 'v', 'n', 1, 0, 0, 'm', 'f', 'done')"
    )
    with pytest.raises(Refused, match="disk of the service is full") as refused:
        for number in range(1000):
            database.change(insert, str(number) * 50)
    assert refused.value.status == 507
    assert [row["id"] for row in database.rows("SELECT id FROM recordings")]
    database.rows("PRAGMA max_page_count = 10000")
    assert database.change(insert, "later") == 1
    database.close()


KILLED = """
import sys
from auricle.serve.database import Database
database = Database(__import__("pathlib").Path(sys.argv[1]))
for number in range(1_000_000):
    database.change(
        "INSERT INTO recordings (id, visitor, name, bytes, created, touched, model, fingerprint, state)"
        " VALUES (?, 'v', 'n', 1, 0, 0, 'm', 'f', 'done')", str(number))
    print(number, flush=True)
"""


def test_what_was_answered_is_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(50):
            last = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split("\n")
    last = max([last, *(int(line) for line in rest[:-1])])  # the last line may be half a number
    database = Database(path)
    known = {int(row["id"]) for row in database.rows("SELECT id FROM recordings")}
    database.close()
    assert known >= set(range(last + 1))


SIZE = 1000


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-", Part(0, SIZE)),
        ("bytes=0-0", Part(0, 1)),
        ("bytes=5-9", Part(5, 10)),
        ("bytes=990-", Part(990, SIZE)),
        ("bytes=990-5000", Part(990, SIZE)),
        ("bytes=-10", Part(990, SIZE)),
        ("bytes=-5000", Part(0, SIZE)),
        ("BYTES = 5-9 ", Part(5, 10)),
        ("bytes=9-5", None),  # no range at all
        ("bytes=0-1,5-6", None),  # several: the whole
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=1e3-", None),
        ("bytes=--5", None),
        ("items=0-5", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_ranges_are_as_rfc_9110_has_them(header: str | None, part: Part | None) -> None:
    assert part_of(header, SIZE) == part


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=999999999999-"])
def test_a_range_beyond_the_end_is_refused_with_the_length(header: str) -> None:
    with pytest.raises(Refused, match="beyond the end") as refused:
        part_of(header, SIZE)
    assert refused.value.status == 416 and refused.value.headers["Content-Range"] == "bytes */1000"
    with pytest.raises(Refused):
        part_of("bytes=0-", 0)


def test_no_name_breaks_out_of_a_content_disposition() -> None:
    for name in ('a"b.wav', "a;b.wav", "a\r\nX: y.wav", "a%22.wav", "ü.wav", "\udc80.wav", "a\\b", "'.wav"):
        value = disposition("attachment", name)
        assert value.isascii() and value.isprintable()
        plain = value.split('"')
        assert len(plain) == 3 and not set(plain[1]) & set(";%'\\")
