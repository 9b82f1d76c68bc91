"""Events that somebody wrote down: every format is read, a senseless row is named, and verb convert."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import tiny_model
from running import run

from auricle import formats
from auricle.datasets.manifest import manifest
from auricle.formats.matching import alike, match_recordings
from auricle.formats.reading import read_events

RATE = 8000
EVENTS = [("a.wav", 0.25, 1.5, "dog", 0.75), ("a.wav", 1.0, 4.0, "rain, heavy", 0.5)]


def rows_of(file: Path) -> list[tuple[object, ...]]:
    return [tuple(event[:5]) for event in read_events([file]).events]


TABLES = {
    "dcase.tsv": "filename\tonset\toffset\tevent_label\n"
    "a.wav\t0.25\t1.5\tdog\na.wav\t1.0\t4.0\train, heavy\n",
    "strong.tsv": "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
    "a.wav\t0.250\t1.500\tdog\na.wav\t1.000\t4.000\train, heavy\n",
    "excel.csv": "sep=;\nFile;Start;End;Class\na.wav;0,25;1,5;dog\na.wav;1;4;rain, heavy\n",
    "a.wav.txt": "0.250000\t1.500000\tdog\n\\\t100.0\t900.0\n1.000000\t4.000000\train, heavy\n",
    # A track of a German Audacity, with marks that last no time, one of them without a text.
    "a.wav.labels.txt": "0,250000\t1,500000\tdog\n0,5\t0,5\tmark\n0,7\t0,7\t\n1\t4,0\train, heavy\n",
    "a.wav.csv": 'onset,offset,label\n0.25,1.5,dog\n1,4,"rain, heavy"\n',
    # Raven: a row for each view; Begin Time counts from the file's beginning where there is one file.
    "a.wav.Table.1.selections.txt": "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"
    "1\tWaveform 1\t1\t0.25\t1.5\tdog\n1\tSpectrogram 1\t1\t0.25\t1.5\tdog\n"
    "2\tWaveform 1\t1\t1.0\t4.0\train, heavy\n",
    "labels.csv": "path,start,end,labels,no\n"
    'a.wav,0.25,1.5,dog,rain\na.wav,1,4,"rain, heavy",\na.wav,5,6,,dog\n',
    "answered.csv": "path,start,end,label,score,answer\na.wav,0.25,1.5,dog,0.9,y\na.wav,2,3,dog,0.9,n\n"
    'a.wav,1,4,dog,0.9,"rain, heavy"\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_every_kind_are_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(TABLES[name])
    assert [row[:4] for row in rows_of(tmp_path / name)] == [row[:4] for row in EVENTS]
    assert list(read_events([tmp_path / name]).recordings) == ["a.wav"]


@pytest.mark.parametrize("format", ["csv", "jsonl", "audacity", "raven", "jams"])
def test_what_is_written_is_read_back(format: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.wav{formats.SUFFIXES[format]}"
    events = [dict(zip(("start", "end", "label", "score"), row[1:], strict=True)) for row in EVENTS]
    result = {"path": "a.wav", "duration": 5.0, "tags": [], "events": events}
    with file.open("w", newline="") as stream:
        formats.write(format, [result], stream, formats.About(rate=RATE))
    assert rows_of(file) == EVENTS


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.wav.txt", "0.5\t0.5\tmark\n0.25\t1.5\tdog\n2\t2\t\n"),
        ("t.csv", "path,start,end,label\na.wav,0.25,1.5,dog\na.wav,3,3,dog\na.wav,4,4.0,dog\n"),
        ("t.jsonl", '{"path": "a.wav", "events": [{"start": 0.25, "end": 1.5, "label": "dog"}, '
         '{"start": 1, "end": 1, "label": "x"}, {"start": 2, "end": 2, "label": "x"}]}'),
    ],
)  # fmt: skip
def test_labels_that_last_no_time_are_counted_and_left_out(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    found = read_events([tmp_path / name])
    assert [event[:4] for event in found.events] == [("a.wav", 0.25, 1.5, "dog")] and found.points == 2
    assert found.left_out == ["2 labels that last no time (points), left out"]


def test_a_recording_of_points_alone_was_listened_to(tmp_path: Path) -> None:
    (tmp_path / "a.wav.txt").write_text("0.5\t0.5\t\n")
    assert list(read_events([tmp_path / "a.wav.txt"]).recordings) == ["a.wav"]


def test_raven_counts_several_files_as_one_sound(tmp_path: Path) -> None:
    head = "Selection\tView\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tSpecies\n"
    rows = "1\tS\t10\t11.5\ta.wav\t10\towl\n2\tS\t70\t71\tb.wav\t10\towl\n"
    (tmp_path / "t.txt").write_text(head + rows)
    assert [row[:3] for row in rows_of(tmp_path / "t.txt")] == [("a.wav", 10.0, 11.5), ("b.wav", 10.0, 11.0)]


def test_recordings_without_an_event_are_known(tmp_path: Path) -> None:
    (tmp_path / "dcase.tsv").write_text("filename\tonset\toffset\tevent_label\nq.wav\t\t\t\n")
    (tmp_path / "b.wav.labels.txt").write_text("")
    (tmp_path / "c.jsonl").write_text('{"path": "c.wav", "events": []}\n{"path": "d.wav", "error": "gone"}\n')
    (tmp_path / ".hidden.csv").write_text("nonsense")
    (tmp_path / "failures.csv").write_text("path,error\n")
    found = read_events([tmp_path])
    assert found.events == [] and sorted(found.recordings) == ["b.wav", "c.wav", "q.wav"]


def test_scenes_and_strange_jams(tmp_path: Path) -> None:
    table = pa.table({"id": ["s1"], "label": ["dog"], "onset": [0.5], "offset": [1.0]})
    pq.write_table(table, tmp_path / "events.parquet")
    assert rows_of(tmp_path / "events.parquet") == [("s1", 0.5, 1.0, "dog", None)]
    data = {
        "time": [1],
        "duration": [2],
        "value": [{"label": "siren", "role": "foreground"}],
        "confidence": [1],
    }
    whole = {"file_metadata": {"title": ""}, "annotations": [{"namespace": "scaper", "data": data}]}
    (tmp_path / "s2.jams").write_text(json.dumps(whole))
    assert rows_of(tmp_path / "s2.jams") == [("s2", 1.0, 3.0, "siren", 1.0)]
    pq.write_table(pa.table({"path": ["a"], "scores": [[0.5]]}), tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match="the scores of windows, not events"):
        read_events([tmp_path / "scores.parquet"])


WRONG = {
    "a.txt": ("0.5\t1\tdog\n2\t1\tdog\n", "a.txt, row 2: expected start and end in seconds, the end after"),
    "b.txt": ("0.5\t1\tdog\n2;3;dog\n", "b.txt, row 2: expected start, end and a label, with tabs between"),
    "a.csv": ("file,start,end,label\na.wav,1,2,dog\na.wav,one,2,dog\n", "a.csv, row 3: .* got 'one' and '2'"),
    "c.csv": ("file,start,end,label\n,1,2,dog\n", "c.csv, row 2: file is empty; expected the name"),
    "d.csv": ("file,begin,end\na.wav,1,2\n", "d.csv: no column for start and label: it has file, begin, end"),
    "e.csv": ("a.wav,1,2,dog\n", "e.csv: begins with an event, not with the names of its columns"),
    "g.csv": ("a.wav;0,5;1,5;dog\n", "g.csv: begins with an event, not with the names of its columns"),
    "c.txt": ("0,5;1,5;dog\n", "c.txt: begins with an event, not with the names of its columns"),
    "d.txt": ("0.5;1.5;dog\n", "d.txt, row 1: expected start, end and a label, with tabs between"),
    "f.csv": ("path,start,end,label,answer\na.wav,1,2,dog,y;n\n", "f.csv, row 2: 'y;n' says yes and no"),
    "a.jsonl": (
        '{"path": "a", "events": []}\n{"path": "b"}\n',
        'a.jsonl, row 2: expected an object with "path"',
    ),
    "a.jams": ("{}", "a.jams: not JAMS"),
    "b.jams": ('{"file_metadata": {}, "annotations": []}', "b.jams: no annotation says what is heard"),
    "a.doc": ("", "a.doc: is no file of events"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_named_with_its_row(name: str, tmp_path: Path) -> None:
    text, match = WRONG[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=match):
        read_events([tmp_path / name])


NAMELESS = {
    "a.wav.labels.txt": "0.25\t1.5\tdog\n2\t3\t\n4\t5\n",
    "t.csv": "path,start,end,label\na.wav,0.25,1.5,dog\na.wav,2,3,\na.wav,4,5, \n",
    "a.wav.selections.txt": "Selection\tView\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"
    "1\tS\t0.25\t1.5\tdog\n2\tS\t2\t3\t\n3\tS\t4\t5\t\n",
    "t.jsonl": '{"path": "a.wav", "events": [{"start": 0.25, "end": 1.5, "label": "dog"}, '
    '{"start": 2, "end": 3, "label": ""}, {"start": 4, "end": 5, "label": null}]}',
    "a.wav.jams": '{"file_metadata": {}, "annotations": [{"namespace": "tag_open", "data": ['
    '{"time": 0.25, "duration": 1.25, "value": "dog", "confidence": 1}, '
    '{"time": 2, "duration": 1, "value": "", "confidence": 1}, '
    '{"time": 4, "duration": 1, "value": null, "confidence": null}]}]}',
}


@pytest.mark.parametrize("name", NAMELESS)
def test_a_stretch_without_a_label_is_told_and_left_out(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(NAMELESS[name])
    found = read_events([tmp_path / name])
    assert [event[:4] for event in found.events] == [("a.wav", 0.25, 1.5, "dog")]
    [said] = found.left_out
    assert said.startswith(f"{tmp_path / name}, ") and said.endswith(
        ": says from when to when and not what, left out (2 such rows in all)"
    )


def test_a_file_of_nothing_is_told_and_a_quiet_recording_of_raven_is_one(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl", "a.jams", "a.tsv"):
        (tmp_path / name).write_text("\n")
    (tmp_path / "head.csv").write_text("path,start,end,label\n")
    with (tmp_path / "a.wav.selections.txt").open("w", newline="") as stream:
        quiet = {"path": "a.wav", "duration": 5.0, "tags": [], "events": []}
        formats.write("raven", [quiet], stream, formats.About(rate=RATE))
    found = read_events([tmp_path])
    assert list(found.recordings) == ["a.wav"] and not found.events
    assert found.left_out == [
        f"{tmp_path / name}: holds no event and names no recording"
        for name in ("a.csv", "a.jams", "a.jsonl", "a.tsv", "head.csv")
    ]


def test_a_selection_table_without_rows_is_a_quiet_recording_whatever_columns_it_has(tmp_path: Path) -> None:
    head = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\n"
    names = ("a.wav.Table.1.selections.txt", "b.wav.selections.txt", "c.wav.txt")
    for name in names:
        (tmp_path / name).write_text(head)
    found = read_events([tmp_path])
    assert list(found.recordings) == ["a.wav", "b.wav", "c.wav"] and not found.events and not found.left_out
    (tmp_path / names[0]).write_text(f"{head}1\tSpectrogram 1\t1\t0.5\t1.5\t0\t4000\n")
    with pytest.raises(ValueError, match="no column for label"):
        read_events([tmp_path])


def test_moments_that_somebody_answered_are_no_scores(tmp_path: Path) -> None:
    rows = "a.wav,0,2,dog,0.7,y\na.wav,2,4,dog,0.6,y\n"
    (tmp_path / "t.csv").write_text(f"path,start,end,label,score,answer\n{rows}")
    assert not read_events([tmp_path / "t.csv"]).left_out
    (tmp_path / "t.csv").write_text(f"path,start,end,label,score\n{rows.replace(',y', '')}")
    assert len(read_events([tmp_path / "t.csv"]).left_out) == 1


@pytest.mark.parametrize("format", ["csv", "audacity", "raven", "jams"])
def test_scores_that_are_taken_for_events_are_told(
    format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model.save(tmp_path / "tiny", hop=tiny_model.WINDOW).path
    rng = np.random.default_rng(4)
    rate = tiny_model.RATE
    loud = np.repeat(rng.uniform(0.01, 0.9, 12), rate // 2)
    soundfile.write(tmp_path / "a.wav", rng.uniform(-1, 1, 6 * rate) * loud, rate)
    soundfile.write(tmp_path / "b.wav", rng.uniform(-0.001, 0.001, 6 * rate), rate)  # clock, rain, dog
    whole = [] if format in formats.TIMED else [["--top", "3"]]
    for n, options in enumerate(
        [["--events", "--set", "onset=0.3"], ["--windows", "--threshold", "0.3"], *whole]
    ):
        file = tmp_path / f"{n}{formats.SUFFIXES[format]}"
        tag = [
            "tag",
            tmp_path / ("b.wav" if options in whole else "a.wav"),
            "--model",
            model,
            "--format",
            format,
            "--out",
            file,
            *options,
        ]
        assert run(capsys, *tag)[0] == 0
        found = read_events([file])
        assert len(found.events) > 2
        assert [f"{file}: its rows look like scores of " in said for said in found.left_out] == [True] * (
            n > 0
        )


@pytest.mark.parametrize("name", WRONG)
def test_of_what_makes_no_sense_the_rest_goes_on(name: str, tmp_path: Path) -> None:
    text, match = WRONG[name]
    (tmp_path / name).write_text(text)
    (tmp_path / "z.wav.txt").write_text("1\t2\train\n")
    found = read_events([tmp_path / name, tmp_path / "z.wav.txt"], lenient=True)
    assert found.problems is not None and len(found.problems) == 1
    assert re.search(match, found.problems[0]) and found.events[-1].label == "rain"
    if name in ("a.txt", "b.txt", "a.csv"):
        assert [event.label for event in found.events] == ["dog", "rain"]


def test_names_mean_recordings_by_as_much_of_their_path_as_there_is() -> None:
    files = ["rec/mon/0700.mp3", "rec/tue/0700.mp3", "rec/tue/0800.wav"]
    names = ["mon/0700.mp3", "tue/0700", "0800.wav", "/home/x/rec/tue/0800.wav", "D:\\rec\\mon\\0700.mp3"]
    found = match_recordings(dict.fromkeys(names, "t"), files, ["rec"])
    assert list(found.values()) == [files[0], files[1], files[2], files[2], files[0]]
    # The same file in another folder is another recording, and a part of a name is no name.
    assert match_recordings({"wed/0800.wav": "t", "800.wav": "t", "rec": "t", "": "t"}, files, ["rec"]) == {}
    assert match_recordings({"s1.wav": "t"}, ["s1", "s2"]) == {"s1.wav": "s1"}  # ids of a pack
    colons = match_recordings(
        {"mon/22%3A00.wav": "t"}, ["rec/mon/22:00.wav"], ["rec"]
    )  # as results are named
    assert list(colons.values()) == ["rec/mon/22:00.wav"]
    # Of another day there is none: not even where the other folder is all that was looked at.
    days = {
        "rec/mon/0700.mp3": "t",
        "rec/tue/0700.mp3": "t",
        "/home/x/tue/0800.wav": "t",
        "mon/0800.wav": "t",
    }
    there = ["rec/tue/0700.mp3", "rec/tue/0800.wav"]
    assert list(match_recordings(days, there, ["rec/tue"])) == ["rec/tue/0700.mp3", "/home/x/tue/0800.wav"]
    # Names beside names: one of the two may be longer, if that is clear.
    assert match_recordings({"rec/a.wav": "t"}, ["a.wav"]) == {"rec/a.wav": "a.wav"}
    with pytest.raises(ValueError, match="both 'tue/a.wav' and 'mon/a.wav' may be a.wav"):
        match_recordings({"mon/a.wav": "t", "tue/a.wav": "t"}, ["a.wav"])
    with pytest.raises(ValueError, match="row 7: '0700' may be rec/mon/0700.mp3 or rec/tue/0700.mp3"):
        match_recordings({"0700": "t.csv, row 7"}, files, ["rec"])


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("rec/a.wav", "rec/deep/b.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros(9 * RATE), RATE)
    (tmp_path / "labels" / "deep").mkdir(parents=True)
    (tmp_path / "labels" / "a.wav.labels.txt").write_text("0.5\t3.5\train 0.91\n2\t2.5\tdog\n")
    (tmp_path / "labels" / "deep" / "b.wav.labels.txt").write_text("4\t6\tdog\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_corrected_label_tracks_become_one_table(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "convert", "labels", "--recordings", "rec", "--out", "events.csv")
    assert status == 0, err
    assert out == "events.csv: 3 events in 2 recordings\n"
    assert (sounds / "events.csv").read_text() == (
        "path,start,end,label,score\nrec/a.wav,0.5,3.5,rain,0.91\nrec/a.wav,2,2.5,dog,1\n"
        "rec/deep/b.wav,4,6,dog,1\n"
    )
    assert run(capsys, "convert", "events.csv", "--format", "raven", "--out", "raven/")[0] == 0
    status, out, _ = run(capsys, "convert", "raven", "--recordings", "rec")
    assert out == (sounds / "events.csv").read_text()


@pytest.mark.parametrize("out", ["truth.csv", "truth/"])
def test_recordings_without_an_event_stay_in_a_csv_and_are_judged(
    sounds: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    (sounds / "labels" / "deep" / "b.wav.labels.txt").write_text("")
    status, _, err = run(capsys, "convert", "labels", "--recordings", "rec", "--out", out)
    assert status == 0, err
    assert read_events([out]).recordings.keys() == {"rec/a.wav", "rec/deep/b.wav"}
    (sounds / "again").mkdir()
    assert run(capsys, "convert", out, "--out", "again/truth.csv")[0] == 0
    assert read_events(["again"]).recordings.keys() == {"rec/a.wav", "rec/deep/b.wav"}
    found = "path,start,end,label\na.wav,0.5,3.5,rain\na.wav,2,2.5,dog\ndeep/b.wav,4,6,dog\n"
    Path("found.csv").write_text(found)
    judge = ["evaluate", "--events", "--predictions", "found.csv", "--format", "json", "--annotations"]
    by_tracks, by_table = (json.loads(run(capsys, *judge, truth)[1]) for truth in ("labels", out))
    assert by_tracks["events"] == by_table["events"] and by_table["events"]["f1_micro"] == 0.8
    assert by_table["clips"] == 2


def test_every_row_and_file_that_makes_sense_is_written(
    sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sounds / "labels" / "a.wav.labels.txt").write_text("0.5\t3.5\train\n4\t5\t\n6\t5\tdog\n7\t8\tdog\n")
    (sounds / "labels" / "notes.txt").write_text("the dog of the neighbours\n")
    (sounds / "labels" / "gone.wav.labels.txt").write_text("1\t2\tdog\n")
    status, out, err = run(capsys, "convert", "labels", "--recordings", "rec", "--out", "events.csv")
    assert status == 1 and out == "events.csv: 3 events in 2 recordings\n"
    assert (sounds / "events.csv").read_text() == (
        "path,start,end,label,score\nrec/a.wav,0.5,3.5,rain,1\nrec/a.wav,7,8,dog,1\nrec/deep/b.wav,4,6,dog,1\n"
    )
    lines = err.splitlines()
    assert lines[0].startswith("auricle: warning: labels/a.wav.labels.txt, row 2: says from when to when and")
    for line, said in zip(
        lines[1:],
        (
            "a.wav.labels.txt, row 3: expected start and end in seconds",
            "notes.txt: no column for start and end",
        )
        + ("gone.wav.labels.txt, row 1: no recording 'gone.wav' in rec",),
        strict=True,
    ):
        assert line.startswith(f"auricle: error: labels/{said}")


def test_what_is_written_into_the_folder_that_is_read_is_not_read_again(
    sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        status, out, err = run(capsys, "convert", "labels", "--out", "labels/events.csv")
        assert (status, out, err) == (0, "labels/events.csv: 3 events in 2 recordings\n", "")


def test_what_was_corrected_is_not_written_over(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = sounds / "rec" / "a.wav.csv"
    table.write_text("path,start,end,label,answer,note\na.wav,1,2,dog,y,mine\n")
    for read in ("rec/a.wav.csv", "rec"):
        status, out, err = run(
            capsys, "convert", read, "--recordings", "rec", "--format", "csv", "--out", "rec/"
        )
        assert (status, out) == (2, "") and "is read; name another" in err.replace("\n", " ")
        assert "mine" in table.read_text()


def test_nor_is_what_is_written_into_a_folder_in_it(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("dog", "wolf"):  # corrected in between
        (sounds / "labels" / "deep" / "b.wav.labels.txt").write_text(f"4\t6\t{label}\n")
        told = run(
            capsys, "convert", "labels", "--recordings", "rec", "--format", "csv", "--out", "labels/out/"
        )
        assert told == (0, "labels/out/: 3 events in 2 recordings\n", "")
    status, out, _ = run(capsys, "convert", "labels/deep", "--recordings", "rec", "--out", "labels/")
    assert (status, out) == (0, "labels/: 1 event in 1 recording\n")  # read is below what is written


@pytest.mark.filterwarnings("always:the annotations|the predictions")
@pytest.mark.parametrize("more", [["--recordings", "rec"], []])
def test_the_same_events_in_several_files_count_once(
    sounds: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    (sounds / "labels" / "a.wav.labels.txt").write_text(
        "0.1234567\t3.5\train 0.91\n2\t2.5\tdog\n2\t2.5\tcat\n2\t2.500003\tdog\n"
    )
    (sounds / "labels" / "c.wav.labels.txt").write_text("")
    soundfile.write(sounds / "rec" / "c.wav", np.zeros(RATE), RATE)
    assert run(capsys, "convert", "labels", "--recordings", "rec", "--out", "true.csv")[0] == 0
    assert run(capsys, "convert", "labels", "--recordings", "rec", "--out", "labels/ev.csv")[0] == 0
    for format in ("audacity", "raven", "jams", "jsonl"):
        convert = ["convert", "true.csv", "--recordings", "rec", "--format", format, "--out", "reviewed/"]
        assert run(capsys, *convert)[0] == 0
    status, out, err = run(capsys, "convert", "reviewed", *more, "--out", "once.csv")
    assert (status, out) == (0, "once.csv: 5 events in 3 recordings\n"), err
    said = "15 events are written down more than once (same recording, label and times), counted once\n"
    assert err == f"auricle: warning: {said}"
    judge = ["evaluate", "--events", "--format", "json"]
    for truth, found in (("reviewed", "true.csv"), ("true.csv", "reviewed"), ("reviewed", "reviewed")):
        status, out, err = run(capsys, *judge, "--annotations", truth, "--predictions", found)
        assert status == 0, err
        figures = json.loads(out)
        assert figures["events"]["f1_micro"] == figures["segments"]["f1_micro"] == 1.0
        assert (figures["true_events"], figures["found_events"], figures["clips"]) == (5, 5, 3)
        named = [of for of, name in (("annotations", truth), ("predictions", found)) if name == "reviewed"]
        assert err.splitlines() == [f"auricle: warning: the {of}: {said[:-1]}" for of in named]
    assert (sounds / "once.csv").read_text() == (sounds / "true.csv").read_text()


def test_recordings_of_one_name_in_two_folders_stay_two(tmp_path: Path) -> None:
    """Their events may be the same: of clips of which each is one event, say."""
    (tmp_path / "t.csv").write_text("path,start,end,label\na.wav,0,5,dog\ndeep/a.wav,0,5,dog\n")
    (tmp_path / "tracks" / "deep").mkdir(parents=True)
    for name in ("a.wav.txt", "deep/a.wav.txt"):
        (tmp_path / "tracks" / name).write_text("0\t5\tdog\n")
    for name in ("t.csv", "tracks"):
        found = read_events([tmp_path / name])
        assert alike(found) == {"a.wav": "a.wav", "deep/a.wav": "deep/a.wav"}
        assert len(found.once(alike(found))[0]) == 2


def test_of_heads_alone_a_head_is_written(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sounds / "head.csv").write_text("path,start,end,label\n")
    for format, head in (("csv", "path,start,end,label,score\n"), ("raven", "Selection\tView"), ("jams", "")):
        status, out, err = run(capsys, "convert", "head.csv", "--format", format)
        assert status == 0 and out.startswith(head)
        assert err == "auricle: warning: head.csv: holds no event and names no recording\n"


def test_the_labels_that_tag_writes_come_back_whatever_recordings_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rec" / "deep").mkdir(parents=True)
    long = "x" * 245 + ".wav"
    names = ["a.wav", "deep/a.wav", "22:00.wav", "aux.wav", "deep/aux.wav", "%41.wav", "a.flac", long]
    for name in names:
        soundfile.write(tmp_path / "rec" / name, np.zeros(RATE), RATE)
    model = tiny_model.save(tmp_path / "tiny").path
    for format in ("audacity", "raven"):
        tag = ["tag", "rec", "--events", "--set", "onset=0", "--format", format, "--out", f"{format}/"]
        status, _, err = run(capsys, *tag, "--model", model, "--quiet")
        assert status == 0, err
        status, out, err = run(capsys, "convert", format, "--recordings", "rec")
        assert (status, err) == (0, "")
        heard = {row["path"] for row in csv.DictReader(io.StringIO(out)) if row["label"]}
        assert heard == {f"rec/{name}" for name in names}


def test_what_ends_after_its_recording_is_told_and_points_are_counted(
    sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track = sounds / "labels" / "a.wav.labels.txt"
    track.write_text("0.5\t9.05\train\n1\t1\tmark\n")  # a little more than there is may be rounding
    status, _, err = run(capsys, "convert", "labels", "--recordings", "rec", "--out", "events.csv")
    assert status == 0 and err == "auricle: warning: 1 label that lasts no time (a point), left out\n"
    track.write_text("0.5\t3.5\train\n2\t99\tdog\n100\t101\tdog\n")
    status, _, err = run(capsys, "convert", "labels", "--recordings", "rec", "--out", "events.csv")
    assert status == 0
    assert err == (
        "auricle: warning: labels/a.wav.labels.txt, row 2: ends at 99 s, and its recording at 9.000 s by its "
        "header; written as it is (2 such events in all)\n"
    )
    assert "rec/a.wav,2,99,dog,1\n" in (sounds / "events.csv").read_text()


def test_a_manifest_has_all_that_is_heard_and_pack_reads_it(
    sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["convert", "labels", "--recordings", "rec", "--format", "manifest", "--out", "m.csv"]
    assert run(capsys, *made)[0] == 0
    rows = [(Path(c.path).name, c.start, c.end, c.labels) for c in manifest("m.csv")]
    assert rows == [
        ("a.wav", 0.5, 3.5, ("dog", "rain")),  # the dog is wholly in it
        ("a.wav", 2.0, 2.5, ("dog", "rain")),
        ("b.wav", 4.0, 6.0, ("dog",)),
    ]
    assert run(capsys, *made, "--every", 2)[0] == 0
    rows = [(Path(c.path).name, c.start, c.end, c.labels) for c in manifest("m.csv")]
    assert rows[:5] == [
        ("a.wav", 0.0, 2.0, ("rain",)),
        ("a.wav", 2.0, 4.0, ("dog", "rain")),
        *[("a.wav", start, start + 2.0, ()) for start in (4.0, 6.0)],
        ("a.wav", 8.0, 9.0, ()),
    ]
    assert [row[3] for row in rows[5:]] == [(), (), ("dog",), (), ()]
    status, out, err = run(capsys, "pack", "m.csv", "packed", "--rate", RATE, "--jobs", 1, "--quiet")
    assert status == 0 and "10 clips" in out, err


def test_answers_are_obeyed(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = "path,start,end,label,score,answer\nrec/a.wav,0,1,dog,0.9,y\nrec/a.wav,1,2,dog,0.8,n\n"
    answered = "rec/a.wav,2,3,dog,0.7,rain\nrec/a.wav,3,4,dog,0.6,\nrec/a.wav,4,5,dog,0.5,rain;y;crow\n"
    Path("answered.csv").write_text(table + answered)
    status, out, err = run(capsys, "convert", "answered.csv")
    assert status == 0 and "1 row without an answer, left out" in err
    rows = list(csv.reader(io.StringIO(out)))[1:]
    of_a_person = [["rec/a.wav", "4", "5", name, "1"] for name in ("crow", "rain")]  # 0.5 is the dog's
    assert rows == [
        ["rec/a.wav", "0", "1", "dog", "0.9"],
        ["rec/a.wav", "2", "3", "rain", "1"],
        of_a_person[0],
        ["rec/a.wav", "4", "5", "dog", "0.5"],
        of_a_person[1],
    ]
    assert [event.score for event in read_events(["answered.csv"]).events] == [0.9, None, None, 0.5, None]


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (["labels", "--format", "audacity"], 2, "audacity holds one recording in a file, and here are 2"),
        (["labels", "--every", "2"], 2, "goes with --format manifest"),
        (["labels", "--format", "manifest", "--out", "x/"], 2, "a manifest is one file"),
        (["labels/a.wav.labels.txt", "--out", "labels/a.wav.labels.txt"], 2, "is what is read"),
        (["labels", "--recordings", "rec/deep"], 1, "row 1: no recording 'a.wav' in rec/deep"),
        (["labels", "--format", "jams", "--out", "x/"], 1, "row 1: no recording 'a.wav', here or in the"),
        (["rec"], 1, "no file of events in this folder"),
        (["no-such"], 1, "no-such: no such file or folder"),
    ],
)
def test_wrong_usage_is_named(
    sounds: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    found = run(capsys, "convert", *arguments)
    assert found[0] == status and said in " ".join(found[2].split())
