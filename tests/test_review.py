"""Labelling: telling moments are asked about, answers become a manifest, by terminal and table alike."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_model
from running import run

from auricle.datasets.manifest import manifest
from auricle.search import VectorIndex
from auricle.search.answers import (
    Answers,
    Question,
    read_labels,
    read_questions,
    write_labels,
    write_questions,
)
from auricle.search.layout import begin
from auricle.search.nearest import scan
from auricle.search.proposals import head_scores, known_rows, propose, train_head
from auricle.search.writing import Heard, commit

ABOUT = {"model": "m", "given": "m", "fingerprint": "f", "rate": 1, "window": 2, "hop": 1, "size": 8}
SIREN = np.eye(8)[0]


@pytest.fixture
def made(tmp_path: Path) -> VectorIndex:
    """Twenty recordings of fifty windows; in every fourth recording, a siren sounds in nine."""
    out = tmp_path / "index"
    out.mkdir()
    begin(out, ABOUT)
    rng, heard = np.random.default_rng(1), []
    starts = np.arange(50.0)
    for number in range(20):
        values = rng.standard_normal((50, 8)) + 3
        if number % 4 == 0:
            values[20:29] += 6 * SIREN
        heard.append(Heard(f"/r/{number}.wav", 1, "", "", [(starts, starts + 2, values)]))
    commit(out, lambda piece: True, heard, 8, segment_rows=300)
    return VectorIndex(out)


def truth(question: Question) -> bool:
    return int(Path(question.path).stem) % 4 == 0 and 20 <= question.start < 29


def answered(made: VectorIndex, rounds: int, **more: object) -> tuple[Answers, list[Question]]:
    answers, asked = Answers(), []
    for _ in range(rounds):
        questions = propose(made, answers, ["siren"], count=5, **more)  # type: ignore[arg-type]
        for question in questions:
            answers.add(question, "y" if truth(question) else "n")
        asked += questions
    return answers, asked


def test_a_few_answers_find_the_rest(made: VectorIndex) -> None:
    answers, _ = answered(made, 8, examples={"siren": 6 * SIREN[None] + 3})
    head = train_head(made, known_rows(made, answers, "siren"))
    assert head is not None
    scores = scan(made, head_scores(head))
    right = [
        truth(Question(path, start, end, "", 0.0))
        for path, (start, end) in zip(made.paths(made.alive), made.spans(made.alive), strict=True)
    ]
    best = np.argsort(-scores[made.alive])[:40]
    assert np.mean(np.array(right)[best]) > 0.95


@pytest.mark.parametrize("rounds", [2, 6])
def test_the_least_sure_is_asked_first_and_nothing_twice(made: VectorIndex, rounds: int) -> None:
    answers, asked = answered(made, rounds, examples={"siren": 6 * SIREN[None] + 3})
    assert len({(q.path, q.start) for q in asked}) == len(asked) == 5 * rounds
    for path in {question.path for question in asked}:
        starts = sorted(question.start for question in asked if question.path == path)
        assert all(later - earlier >= 2.0 for earlier, later in zip(starts, starts[1:], strict=False))
    head = train_head(made, known_rows(made, answers, "siren"))
    assert head is not None
    free = [
        position
        for position, path, (start, end) in zip(
            made.alive, made.paths(made.alive), made.spans(made.alive), strict=True
        )
        if not any(start < stop and begun < end for begun, stop in answers.asked(path, "siren"))
    ]
    scores = scan(made, head_scores(head))[free]
    least = free[int(np.argmin(np.abs(scores - 0.5)))]
    [question] = propose(made, answers, ["siren"], count=1)
    assert question.path == made.paths(np.array([least]))[0]
    assert question.start == made.spans(np.array([least]))[0, 0]
    [likely] = propose(made, answers, ["siren"], count=1, order="likely")
    assert likely.score == pytest.approx(scores.max()) and likely.score >= question.score


def test_without_an_example_what_differs_most_is_asked(made: VectorIndex) -> None:
    questions = propose(made, Answers(), ["siren"], count=12)
    assert len({question.path for question in questions}) > 6
    assert questions == propose(made, Answers(), ["siren"], count=12)


def test_before_the_first_no_some_are_drawn_at_random(made: VectorIndex) -> None:
    questions = propose(made, Answers(), ["siren"], examples={"siren": 6 * SIREN[None] + 3}, count=8)
    scores = [question.score for question in questions]
    assert scores[:3] == sorted(scores[:3], reverse=True) and min(scores[3], scores[7]) < scores[6]


def test_an_example_is_not_asked_about(made: VectorIndex) -> None:
    inside = {"examples": {"siren": 6 * SIREN[None] + 3}, "count": 1000, "gap": 0.0}
    asked = {(q.path, q.start) for q in propose(made, Answers(), ["siren"], **inside)}  # type: ignore[arg-type]
    known = {"siren": [("/r/4.wav", 20.0, 23.0), ("/r/8.wav", 0.0, float("inf"))]}
    left = propose(made, Answers(), ["siren", "rain"], heard=known, **inside)  # type: ignore[arg-type]
    gone = {(f"/r/{r}.wav", float(s)) for r, starts in ((4, range(19, 23)), (8, range(50))) for s in starts}
    assert asked - {(q.path, q.start) for q in left if q.label == "siren"} >= gone & asked
    assert not gone & {(q.path, q.start) for q in left if q.label == "siren"}
    assert gone & {(q.path, q.start) for q in left if q.label == "rain"}  # of which nothing is known


def test_labels_take_turns(made: VectorIndex) -> None:
    questions = propose(made, Answers(), ["siren", "rain"], count=6)
    assert [question.label for question in questions] == ["siren", "rain"] * 3


def test_all_is_asked_once_and_then_nothing(made: VectorIndex) -> None:
    answers = Answers()
    for number in range(20):
        answers.add(Question(f"/r/{number}.wav", 0.0, 50.0 if number else 49.0, "siren", 0.0), "n")
    assert [q.start for q in propose(made, answers, ["siren"], count=5)] == [49.0]
    with pytest.raises(ValueError, match="no label"):
        propose(made, answers, [])


def test_of_copies_one_is_asked_and_the_answer_counts_for_each(tmp_path: Path) -> None:
    """Copies in other segments, in several pieces, with another length or a window that differs."""
    begin(tmp_path, ABOUT)
    rng, starts = np.random.default_rng(1), np.arange(50.0)
    sounds = {name: rng.standard_normal((50, 8)) + 3 for name in "abcdef"}
    sounds |= {
        "copy of a": sounds["a"],
        "a once more": sounds["a"],
        "e2": sounds["e"] * 1,
        "f, cut": sounds["f"][:49],
    }
    sounds["e2"][49, 7] += 0.01
    sounds |= {"nothing": np.zeros((50, 8)), "nothing again": np.zeros((50, 8))}
    heard = [
        Heard(f"/r/{name}", 1, "", "", [(starts[: len(values)], starts[: len(values)] + 2, values)])
        for name, values in sounds.items()
    ]
    commit(tmp_path, lambda piece: True, heard, 8, segment_rows=70)
    index = VectorIndex(tmp_path)
    same = ("/r/a", "/r/a once more", "/r/copy of a")
    assert index.copies == dict.fromkeys(same, same)
    assert len(index.sounds) == len(index.alive) - 100

    answers = Answers(copies=index.copies)
    for examples in ({}, {"siren": sounds["a"][:1]}):  # what differs most, then what is like an example
        every = propose(index, answers, ["siren"], examples=examples, count=1000, gap=0.0)
        assert len(every) == len(index.sounds) and not {q.path for q in every} & set(same[1:])
    answers.add(Question("/r/copy of a", 4.0, 6.0, "siren", 0.0), "y")
    answers.add(Question("/r/b", 4.0, 6.0, "siren", 0.0), "n")
    assert {(a.path, a.start) for a in answers.moments if a.yes} == {(path, 4.0) for path in same}
    known = known_rows(index, answers, "siren")
    assert len(known.positions) == 6 and set(index.paths(known.positions)) == {"/r/a", "/r/b"}
    left = propose(index, answers, ["siren"], count=1000, gap=0.0)  # now by a head
    assert not {q.start for q in left if q.path == "/r/a"} & {3.0, 4.0, 5.0}
    assert not {q.path for q in left} & set(same[1:])
    of_copy = {"siren": [("/r/copy of a", 0.0, float("inf"))]}
    assert not [q for q in propose(index, answers, ["siren"], count=1000, heard=of_copy) if q.path == "/r/a"]


def test_what_was_said_of_a_sound_is_said_of_copies_that_came_later(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    names = [str(tmp_path / name) for name in ("a.wav", "b.wav", "c.wav")]
    answers = Answers()
    answers.add(Question(names[0], 1.0, 2.0, "dog", 0.0), "y;rain")
    answers.add(Question(names[1], 1.0, 2.0, "dog", 0.0), "n")  # somebody heard otherwise, and stays right
    write_labels(file, answers)
    found = read_labels(file, dict.fromkeys(names, tuple(names)))
    assert [(Path(a.path).stem, a.yes, a.no) for a in found.moments] == [
        ("a", {"dog", "rain"}, set()),
        ("b", {"rain"}, {"dog"}),
        ("c", {"dog", "rain"}, set()),
    ]


def test_what_is_said_of_two_copies_stays_with_each() -> None:
    names = ("/r/a", "/r/b", "/r/c")

    def ask(path: str) -> Question:
        return Question(path, 1.0, 2.0, "dog", 0.0)

    answers = Answers(copies=dict.fromkeys(names, names))
    answers.add(ask("/r/a"), "n")
    assert [(a.path, a.no) for a in answers.moments] == [(name, {"dog"}) for name in names]
    assert not answers.contradictions
    answers.add(ask("/r/b"), "y;rain")
    heard = {a.path: (a.yes, a.no) for a in answers.moments}
    assert heard == {
        "/r/a": ({"rain"}, {"dog"}), "/r/b": ({"dog", "rain"}, set()), "/r/c": ({"dog", "rain"}, set())
    }  # fmt: skip
    assert [(one.path, other.path, label) for one, other, label in answers.contradictions] == [
        ("/r/a", "/r/b", "dog"), ("/r/a", "/r/c", "dog")
    ]  # fmt: skip
    again = Answers(answers.moments, answers._copies)  # as of a table that is taken up again
    again.add(ask("/r/b"), "y")
    assert again.moments[0].no == {"dog"}
    again.add(ask("/r/a"), "y")  # its own may change
    assert not again.contradictions


def test_copies_that_a_table_answers_differently_are_told(
    sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(sounds / "3.wav", sounds / "3 again.wav")
    index = ["index", sounds, "--out", sounds / "index", "--model", sounds / "tiny", "--quiet"]
    assert run(capsys, *index)[0] == 0
    answers, labels = sounds / "answers.csv", sounds / "labels.csv"
    answers.write_text("path,start,end,label,answer\n3.wav,0,1,tone,n\n3 again.wav,0,1,tone,y\n")
    ask = ["review", sounds / "index", "--label", "tone", "--out", labels, "--answers", answers, "--quiet"]
    for _ in range(2):
        status, _, err = run(capsys, *ask)
        assert status == 0 and "is heard in one of them alone at 0.0 s: each keeps its answer\n" in err
        assert labels.read_text() == "path,start,end,labels,no\n3 again.wav,0,1,tone,\n3.wav,0,1,,tone\n"


def test_an_answer_counts_for_the_windows_that_it_covers_by_half(made: VectorIndex) -> None:
    answers = Answers()
    answers.add(Question("/r/3.wav", 10.2, 13.0, "siren", 0.0), "y")
    known = known_rows(made, answers, "siren")
    assert made.spans(known.positions)[:, 0].tolist() == [10.0, 11.0, 12.0]
    assert known.heard.all() and not len(known_rows(made, answers, "rain").positions)


# --- tables


def test_labels_are_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "r, 1").mkdir()
    inside, outside = str(tmp_path / "r, 1" / "a.wav"), "/elsewhere/b.wav"
    soundfile.write(inside, np.zeros(8000), 8000)
    answers = Answers()
    answers.add(Question(inside, 0.25, 0.5, "dog", 0.0), "y")
    answers.add(Question(inside, 0.25, 0.5, "rain", 0.0), "wind; hail")
    answers.add(Question(outside, 1.0, 2.0, "dog", 0.0), "n")
    assert not answers.add(Question(outside, 3.0, 4.0, "dog", 0.0), "?")
    file = tmp_path / "labels.csv"
    write_labels(file, answers)
    clips = manifest(file)
    assert [(clip.start, clip.end, clip.labels) for clip in clips] == [
        (0.25, 0.5, ("dog", "hail", "wind")),
        (1.0, 2.0, ()),
    ]
    assert Path(clips[0].path) == Path(inside) and clips[1].path == outside
    assert [clip.attributes["no"] for clip in clips] == ["rain", "dog"]
    assert read_labels(file).moments == answers.moments
    answers.add(Question(inside, 0.2500001, 0.5, "dog", 0.0), "no")  # somebody thinks again
    assert answers.moments[0].yes == {"hail", "wind"} and len(answers) == 2
    answers.add(Question(inside, 0.25, 0.5, "rain", 0.0), "yes")
    assert answers.moments[0].no == {"dog"}


def test_questions_come_back_answered(tmp_path: Path) -> None:
    questions = [
        Question(str(tmp_path / "a.wav"), 0.0, 2.0, "dog", 0.75),
        Question("/b.wav", 1.0, 3.0, "dog", 0.5),
    ]
    file = tmp_path / "todo.csv"
    write_questions(file, questions, {questions[0]: "cut/a.wav"})
    lines = file.read_text().splitlines()
    assert lines[:2] == ["path,start,end,label,score,answer,sound", "a.wav,0,2,dog,0.7500,,cut/a.wav"]
    file.write_text(file.read_text().replace("0.7500,", "0.7500,y"))
    assert [(question.path, text) for question, text in read_questions(file, [questions[0].path])] == [
        (str(tmp_path / "a.wav"), "y"),
        ("/b.wav", ""),
    ]


def test_a_name_is_the_indexs_then_the_table_folders_then_the_working_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for name in ("here.wav", "both.wav", "out/there.wav", "out/both.wav"):
        (tmp_path / name).write_bytes(b"")
    file = tmp_path / "out" / "todo.csv"
    names = ["here.wav", "both.wav", "there.wav", "gone.wav", "s3://bucket/x.wav", "/r/caf\\xe9.wav"]
    file.write_text("path,start,end,label,answer\n" + "".join(f"{name},0,2,dog,y\n" for name in names))
    gone, foreign = str(tmp_path / "gone.wav"), os.fsdecode(b"/r/caf\xe9.wav")
    indexed = [gone, "s3://bucket/x.wav", foreign]

    def placed(indexed: list[str]) -> list[str]:
        return [question.path for question, _ in read_questions(file, indexed)]

    out = tmp_path / "out"
    rest = [str(out / "there.wav"), *indexed]
    assert placed(indexed) == [str(tmp_path / "here.wav"), str(out / "both.wav"), *rest]
    known = [str(tmp_path / "both.wav"), *indexed]  # the index knows the working folder's
    assert placed(known) == [str(tmp_path / "here.wav"), str(tmp_path / "both.wav"), *rest]
    known.append(str(out / "both.wav"))  # and this, too
    assert placed(known) == [str(tmp_path / "here.wav"), str(out / "both.wav"), *rest]


@pytest.mark.parametrize("name", ["none.wav", "/none/at/all.wav", "sub", ""])
def test_a_recording_that_is_nowhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.wav").write_bytes(b"")
    file = tmp_path / "todo.csv"
    file.write_text(f"path,start,end,label,answer\na.wav,0,2,dog,y\n{name},0,2,dog,n\n")
    with pytest.raises(ValueError, match=rf"todo.csv, row 3: {name!r} is neither .* index nor a file"):
        read_questions(file, [str(tmp_path / "b.wav")])
    file.write_text(f"path,start,end,label,answer\n{name},0,2,dog,\n")
    assert read_questions(file)[0][1] == ""  # nothing is said of it


@pytest.mark.parametrize(
    "line, match",
    [
        ("a.wav,0,2,dog,y;n", "row 2: 'y;n' says yes and no"),
        ("a.wav,2,1,dog,y", "row 2: expected start and end in seconds, got '2' and '1'"),
        ("a.wav,one,2,dog,y", "got 'one' and '2'"),
        ("a.wav,0,2,,y", "row 2: label is empty"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path: Path, line: str, match: str) -> None:
    file = tmp_path / "todo.csv"
    file.write_text(f"path,start,end,label,answer\n{line}\n")
    with pytest.raises(ValueError, match=match):
        read_questions(file)
    file.write_text("path,start\na.wav,1\n")
    with pytest.raises(ValueError, match="column end and label and answer missing"):
        read_questions(file)
    with pytest.raises(ValueError, match="column end and labels and no missing"):
        read_labels(file)


# --- the verb


@pytest.fixture
def sounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Recordings of noise, in which a tone sounds from 1 to 2 s in every second one; indexed."""
    rng, rate = np.random.default_rng(3), tiny_model.RATE
    tone = 0.5 * np.sin(2 * np.pi * 900 * np.arange(rate) / rate)
    for number in range(6):
        samples = rng.uniform(-0.1, 0.1, 3 * rate)
        samples[rate : 2 * rate] += tone * (number % 2)
        soundfile.write(tmp_path / f"{number}.wav", samples, rate)
    soundfile.write(tmp_path / "tone.flac", tone, rate)
    model = tiny_model.save(tmp_path / "tiny").path
    assert run(capsys, "index", f"{tmp_path}/*.wav", "--out", tmp_path / "index", "--model", model)[0] == 0
    return tmp_path


def said(row: dict[str, str]) -> str:
    return "y" if int(Path(row["path"]).stem) % 2 and 1.0 <= float(row["start"]) < 2.0 else "n"


def test_review_by_a_table(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    todo, labels = sounds / "todo.csv", sounds / "labels.csv"
    ask = ["review", sounds / "index", "--label", "tone", "--out", labels, "--propose", todo, "--count", 6]
    status, out, _ = run(capsys, *ask, "--example", sounds / "tone.flac", "--sounds", sounds / "cut")
    assert status == 0 and f"{todo}: 6 questions" in out and not labels.exists()
    for _ in range(3):
        rows = list(csv.DictReader(io.StringIO(todo.read_text())))
        assert len(rows) == 6
        columns = list(rows[0])
        with todo.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(row | {"answer": said(row)} for row in rows)
        status, out, err = run(capsys, *ask, "--answers", todo)
        assert (status, err) == (0, "")
    cut = sorted((sounds / "cut").glob("*.wav"))
    assert len(cut) == 6 and soundfile.info(cut[0]).frames == tiny_model.WINDOW
    clips = manifest(labels)
    assert len(clips) == 18 and f"{labels}: 18 moments; tone " in out
    heard = [clip for clip in clips if clip.labels]
    assert len(heard) >= 5 and all(said({"path": c.path, "start": str(c.start)}) == "y" for c in heard)
    # What the head now thinks likeliest is the tone.
    likely = sounds / "likely.csv"
    ask[ask.index(todo)] = likely
    run(capsys, *ask, "--order", "likely", "--count", 3)
    found = [said(row) for row in csv.DictReader(io.StringIO(likely.read_text()))]
    assert found == ["y"] * min(3, 12 - len(heard)) + ["n"] * max(0, 3 - 12 + len(heard))


def test_an_example_may_be_an_excerpt(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long, cut = sounds / "1.wav", sounds / "cut.wav"  # the tone is its second second
    samples, rate = soundfile.read(long, dtype="int16")
    soundfile.write(cut, samples[rate : 2 * rate], rate)
    ask = ["review", sounds / "index", "--label", "tone", "--out", sounds / "labels.csv", "--quiet"]

    def proposed(*more: object) -> str:
        assert run(capsys, *ask, "--propose", sounds / "todo.csv", *more)[0] == 0
        return (sounds / "todo.csv").read_text()

    def others(table: str) -> list[dict[str, str]]:
        rows = list(csv.DictReader(io.StringIO(table)))
        inside = [float(row["start"]) < 2 and float(row["end"]) > 1 for row in rows]
        return [
            r for r, near in zip(rows, inside, strict=True) if not near or Path(r["path"]).name != "1.wav"
        ]

    by_excerpt = proposed("--example", long, "--start", 1, "--end", 2)
    by_cut = proposed("--example", cut)
    # The same is looked for, but the excerpt itself is known.
    assert others(by_excerpt) == list(csv.DictReader(io.StringIO(by_excerpt)))
    first = {row["path"] for row in others(by_cut)[:3]}
    assert first <= {row["path"] for row in others(by_excerpt)}
    assert others(by_excerpt) != others(proposed("--example", long))
    assert len(others(by_cut)) < len(list(csv.DictReader(io.StringIO(by_cut))))
    assert proposed("--example", long, "--end", 0.5) == proposed("--example", f"tone={long}", "--end", 0.5)
    two = ["--example", long, "--example", cut, "--start", 1]
    for more, match in (
        (two, "of one --example, and 2 are given"),
        (["--end", 1], "of one --example, and 0 are given"),
        (["--example", long, "--start", 2, "--end", 1], "1 is not after --start 2"),
    ):
        status, _, err = run(capsys, *ask, *more)
        assert status == 2 and match in " ".join(err.split())


@pytest.mark.parametrize("verb", ["find", "review"])
def test_help_says_of_what_the_excerpt_is(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, verb, "--help")
    said = " ".join(out.split())
    assert status == 0 and "into each recording" not in said
    assert "The example begins S seconds into its recording" in said
    assert "The example ends S seconds into its recording" in said and "--quiet No progress" in said


def test_review_in_the_terminal_keeps_every_answer(
    sounds: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = sounds / "labels.csv"
    ask = ["review", sounds / "index", "--label", "tone", "--example", f"tone={sounds / 'tone.flac'}"]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n\nhum;hiss\ny;n\nn\nq\nn\n"))
    status, out, err = run(capsys, *ask, "--out", labels, "--count", 2)
    assert status == 0
    assert out == f"{labels}: 3 moments; tone 1 yes, 2 no; hiss 1 yes, 0 no; hum 1 yes, 0 no\n"
    assert "1/2 " in err and "tone? [" in err and "says yes and no" in err
    assert [clip.labels for clip in manifest(labels)] == [("tone",), ("hiss", "hum"), ()]
    asked = [line.split("/2 ")[1].split(" s: ")[0] for line in err.split("] ") if "/2 " in line]
    assert len(set(asked)) == 5  # what was skipped is not asked again; what was answered wrongly is, at once
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))  # and ends there
    status, out, _ = run(capsys, *ask, "--out", labels)
    assert status == 0 and out.startswith(f"{labels}: 4 moments; tone 1 yes, 3 no")


def test_a_recording_under_two_names_is_asked_about_once(
    sounds: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, rate = soundfile.read(sounds / "1.wav", dtype="int16")
    soundfile.write(sounds / "1 again.flac", samples, rate)  # another container, the same samples
    shutil.copy(sounds / "3.wav", sounds / "3 again.wav")
    status, _, err = run(
        capsys, "index", sounds, "--out", sounds / "index", "--model", sounds / "tiny", "--quiet"
    )
    assert status == 0, err
    labels, todo = sounds / "labels.csv", sounds / "todo.csv"
    ask = ["review", sounds / "index", "--label", "tone", "--out", labels]
    status, out, err = run(capsys, *ask, "--propose", todo, "--count", 1000)
    assert status == 0 and err.endswith(
        "2 recordings are the same sound as others: those are asked about, and an answer counts for all\n"
    )
    rows = list(csv.DictReader(io.StringIO(todo.read_text())))
    moments = len(rows)
    assert len({(row["path"], row["start"]) for row in rows}) == moments
    assert {row["path"] for row in rows} == {f"{n}.wav" for n in "0245"} | {
        "1 again.flac",
        "3 again.wav",
        "tone.flac",
    }
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 500))
    status, out, err = run(capsys, *ask, "--count", 50)
    assert status == 0 and "nothing is left to ask about" in err
    clips = {(Path(clip.path).name, clip.start, clip.end) for clip in manifest(labels)}
    for one, other in (("1.wav", "1 again.flac"), ("3.wav", "3 again.wav")):
        spans, same = ({clip[1:] for clip in clips if clip[0] == name} for name in (one, other))
        assert spans == same and len(spans) == 12


@pytest.mark.parametrize(
    "more, match",
    [
        (["--label", "y"], "cannot be told from an answer"),
        (["--label", "a", "--label", "b", "--example", "x.wav"], "say of which label"),
    ],
)
def test_review_refuses_what_it_cannot_tell(
    made: VectorIndex, tmp_path: Path, more: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "review", made.path, *more, "--out", tmp_path / "labels.csv")
    assert (status, out) == (2, "") and match in " ".join(err.split())


def test_a_table_without_answers_changes_nothing(
    made: VectorIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    todo = tmp_path / "todo.csv"
    ask = ["review", made.path, "--label", "siren", "--out", tmp_path / "labels.csv"]
    run(capsys, *ask, "--propose", todo)
    status, out, err = run(capsys, *ask, "--answers", todo)
    assert status == 0 and "10 questions without an answer" in err and ": 0 moments" in out
    status, _, err = run(capsys, *ask, "--answers", tmp_path / "none.csv")
    assert status == 1 and "none.csv: no such file" in err


def test_events_of_tag_are_reviewed_wherever_their_table_lies(
    sounds: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sounds)
    (sounds / "out").mkdir()
    tag = ["tag", "1.wav", "3.wav", "--model", "tiny", "--events", "--format", "csv"]
    assert run(capsys, *tag, "--out", "out/events.csv")[0] == 0
    header, *lines = (sounds / "out" / "events.csv").read_text().splitlines()
    assert lines and {line.partition(",")[0] for line in lines} == {"1.wav", "3.wav"}
    table = sounds / "out" / "answered.csv"
    table.write_text("\n".join([f"{header},answer", *(f"{line},y" for line in lines), ""]))
    verb = ["review", "index", "--label", "dog", "--answers", table, "--out", "out/labels.csv"]
    assert run(capsys, *verb)[0] == 0
    assert {Path(clip.path) for clip in manifest(Path("out/labels.csv"))} == {
        sounds / "1.wav",
        sounds / "3.wav",
    }
    table.write_text(f"{header},answer\n{lines[0]},y\n{lines[0].replace('1.wav', '11.wav')},y\n")
    before = (sounds / "out" / "labels.csv").read_bytes()
    status, _, err = run(capsys, *verb)
    assert status == 1 and "row 3: '11.wav' is neither in the index nor a file" in err
    assert (sounds / "out" / "labels.csv").read_bytes() == before


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    shutil.copytree(root / "examples", tmp_path / "examples")
    (tmp_path / "bin").mkdir()
    for name, arguments in (("python", ""), ("auricle", "-m auricle ")):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    printed = ""
    for block in re.findall(r"```sh\n(.*?)```", (root / "docs" / "search.md").read_text(), re.DOTALL):
        command = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        printed += done.stdout
    assert re.search(r"0\.9[678]\d +0\.0 +2\.0 +out/corpus/audio/siren_", printed)
    assert "(0 heard, 50 unchanged, 0 removed)" in printed
    assert re.search(r"12\.0 +14\.0 +siren 0\.[5-9]", printed) and re.search(
        r"2\.0 +4\.0 +siren 0\.[0-4]", printed
    )
