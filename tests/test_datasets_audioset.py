"""AudioSet's lists with whatever media there are: names, ranges, labels, what is missing; the ontology."""

import csv
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from auricle.cli import main
from auricle.datasets import audioset, check_leaks, open_corpus
from auricle.datasets.audioset import (
    find_lists,
    find_segments,
    is_audioset,
    parents,
    parse_name,
    read_classes,
    read_ontology,
    read_segments,
    restricted,
    scan_media,
)
from auricle.datasets.ontology import read_names
from auricle.engine import pack
from auricle.shards import Pack

RATE = 2000
NAMES = {
    "/m/a": "Speech",
    "/m/b": 'Sounds called "oh", and others',
    "/t/c": "Male speech, man speaking",
    "/m/d": "Crumpling, crinkling",
}
ROWS = [  # video, start, end, labels
    ("--PJHxphWEs", 30.0, 40.0, "/m/a,/t/c"),
    ("Yabcdefghij", 0.0, 10.0, "/m/b"),
    ("abcdefghij_", 5.5, 12.0, "/m/a,/m/b,/m/d"),
    ("a-23456789_", 120.0, 130.0, "/m/d"),
    ("zzzzzzzzzzz", 10.0, 20.0, "/t/c"),
]


def write_list(path: Path, rows: list[tuple[str, float, float, str]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [
        "# Segments csv created Sun Mar  5 10:54:31 2017",
        f"# num_ytids={len(rows)}, num_segs={len(rows)}, num_unique_labels=4, num_positive_labels=9",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    lines = [f'{video}, {start:.3f}, {end:.3f}, "{mids}"' for video, start, end, mids in rows]
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return path


def write_classes(folder: Path) -> None:
    with (folder / "class_labels_indices.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "mid", "display_name"])
        writer.writerows([number, mid, name] for number, (mid, name) in enumerate(NAMES.items()))


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    write_list(tmp_path / "lists" / "balanced_train_segments.csv")
    write_classes(tmp_path / "lists")
    return tmp_path / "lists" / "balanced_train_segments.csv"


def sound(path: Path, seconds: float) -> Path:
    """A ramp, by which every moment is known: sample n of the file is n."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.arange(round(RATE * seconds)) // 10
    soundfile.write(path, samples.astype(np.int16), RATE, subtype="PCM_16")
    return path


# --- the published lists


@pytest.mark.parametrize(
    ("name", "segments", "positives"),
    [("balanced_train_segments.csv", 22160, 52882), ("eval_segments.csv", 20371, 51804)],
)
def test_the_published_lists_have_their_counts(
    shared_data: Path, name: str, segments: int, positives: int
) -> None:
    rows = list(read_segments(shared_data / "audioset" / name))
    assert len(rows) == segments == len({row.video for row in rows})
    mids = [mid for row in rows for mid in row.mids.split(",")]
    assert (len(mids), len(set(mids))) == (positives, 527)
    names = read_names(shared_data / "audioset")
    assert len(names) == 527 and set(mids) == set(names)
    assert sum(row.end - row.start == 10.0 for row in rows) > 20000


def test_the_published_lists_are_found_and_every_class_has_its_59_examples(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "audioset"
    assert [file.name for file in find_lists(folder)] == ["balanced_train_segments.csv", "eval_segments.csv"]
    for table in find_lists(folder):
        for number, row in enumerate(read_segments(table)):
            (tmp_path / f"{number % 40}").mkdir(exist_ok=True)
            (tmp_path / f"{number % 40}" / f"Y{row.video}_{row.start:.3f}_{row.end:.3f}.wav").touch()
    name, clips = open_corpus(folder, tmp_path)
    assert (name, len(clips)) == ("audioset", 22160 + 20371)
    assert Counter(clip.split for clip in clips) == {"train": 22160, "eval": 20371}
    check_leaks(clips)
    counts = Counter((clip.split, label) for clip in clips for label in clip.labels)
    assert len(counts) == 2 * 527
    # At least 59 were published; what was taken from the lists since has left some with a few less.
    assert min(counts.values()) >= 50
    assert ("train", "Male speech, man speaking") in counts


def test_the_published_ontology_has_its_parents_and_restrictions(shared_data: Path) -> None:
    file = shared_data / "audioset" / "ontology.json"
    sounds = read_ontology(file)
    assert len(sounds) == 632
    assert sum(not sound.parents for sound in sounds.values()) == 7
    assert sum(len(sound.parents) > 1 for sound in sounds.values()) == 38
    above = parents(file)
    assert above["Speech"] == ["Human voice"] and above["Human sounds"] == []
    assert sorted(above["Hiss"]) == ["Cat", "Onomatopoeia", "Snake", "Steam"]
    kinds = Counter(kind for kinds in restricted(file).values() for kind in kinds)
    assert kinds == {"blacklist": 67, "abstract": 23}
    labels = read_classes(shared_data / "audioset" / "class_labels_indices.csv")
    assert labels == {mid: sounds[mid].name for mid in labels}
    assert sum("abstract" in sounds[mid].restrictions for mid in labels) == 0
    assert sum("blacklist" in sounds[mid].restrictions for mid in labels) == 12


# --- names of files


@pytest.mark.parametrize(
    ("stem", "parsed"),
    [
        ("--PJHxphWEs", ("--PJHxphWEs", "", "")),
        ("Y--PJHxphWEs", ("--PJHxphWEs", "", "")),
        ("--PJHxphWEs_30.000_40.000", ("--PJHxphWEs", "30.000", "40.000")),
        ("Y--PJHxphWEs_30.000", ("--PJHxphWEs", "30.000", "")),
        ("--PJHxphWEs_30000_40000", ("--PJHxphWEs", "30000", "40000")),
        ("--PJHxphWEs_000030", ("--PJHxphWEs", "000030", "")),
        ("Yabcdefghij", ("Yabcdefghij", "", "")),  # an id may begin with Y itself
        ("YYabcdefghij", ("Yabcdefghij", "", "")),
        ("Yabcdefghij_30", ("Yabcdefghij", "30", "")),
        ("Yabcdefghij__30", ("abcdefghij_", "30", "")),  # or end with _
        ("Yabcdefghij_", ("abcdefghij_", "", "")),
        ("abcdefghij__5", ("abcdefghij_", "5", "")),
        ("0_123456789", ("0_123456789", "", "")),
        ("--PJHxphWE", None),
        ("--PJHxphWEs_", None),
        ("--PJHxphWEs_30_", None),
        ("--PJHxphWEs_a", None),
        ("--PJHxphWEs_1_2_3", None),
        ("X--PJHxphWEs", None),
        ("äbcdefghijk", None),
        ("", None),
    ],
)
def test_names_of_files_are_understood(stem: str, parsed: tuple[str, str, str] | None) -> None:
    assert parse_name(stem) == parsed


@pytest.mark.parametrize(
    ("file", "fits"),
    [
        ("Y--PJHxphWEs_30.000_40.000.wav", True),
        ("--PJHxphWEs_30_40.flac", True),
        ("--PJHxphWEs_30.m4a", True),
        ("--PJHxphWEs_000030.mp4", True),
        ("--PJHxphWEs_30000_40000.WAV", True),
        ("--PJHxphWEs_30000.ogg", True),
        ("--PJHxphWEs_20_30.wav", False),
        ("--PJHxphWEs_30_35.wav", False),
        ("--PJHxphWEs_30_40000.wav", False),
        ("--PJHxphWEs_300.wav", False),
        ("--PJHxphWEs_31.wav", False),
        ("--PJHxphWEs_30.5.wav", False),
        ("--PJHxphWEs_30_40.json", False),
        (".--PJHxphWEs_30_40.wav", False),
    ],
)
def test_a_cut_out_is_taken_whole_if_it_is_of_the_segment(lists: Path, file: str, fits: bool) -> None:
    media = lists.parent.parent / "media"
    (media / "deep" / "er").mkdir(parents=True)
    (media / "deep" / "er" / file).touch()
    found = find_segments([lists], media, NAMES)
    assert [clip.id for clip in found.clips] == ["--PJHxphWEs_30000"] * fits
    assert len(found.missing) == 5 - fits
    if fits:
        [clip] = found.clips
        assert (clip.start, clip.end) == (None, None)
        assert clip.path == str(media / "deep" / "er" / file)
    assert found.other_range == (not fits and not file.endswith("json") and not file.startswith("."))


def test_a_start_with_a_fraction_is_found_where_it_was_cut_off(lists: Path) -> None:
    media = lists.parent.parent / "media"
    media.mkdir()
    for file in ("abcdefghij__5.wav", "Yabcdefghij__5.500_12.000.wav", "abcdefghij__5500_12000.wav"):
        (media / file).touch()
        assert [clip.id for clip in find_segments([lists], media, NAMES).clips] == ["abcdefghij__5500"], file
        (media / file).unlink()


def test_whole_videos_are_cut_and_cut_outs_without_a_range_are_known_by_their_length(lists: Path) -> None:
    media = lists.parent.parent / "media"
    sound(media / "--PJHxphWEs.wav", 60)
    sound(media / "Yabcdefghij.wav", 10)
    sound(media / "abcdefghij_.wav", 6.5)
    sound(media / "Ya-23456789_.wav", 10.4)
    sound(media / "zzzzzzzzzzz.wav", 12)
    ranges = {clip.group: (clip.start, clip.end) for clip in audioset(lists, media)}
    assert ranges == {
        "--PJHxphWEs": (30.0, 40.0),
        "Yabcdefghij": (0.0, 10.0),
        "abcdefghij_": (None, None),
        "a-23456789_": (None, None),
        "zzzzzzzzzzz": (10.0, 20.0),  # two seconds of it; no cut-out of ten is twelve long
    }


def test_a_file_that_cannot_be_read_is_left_to_the_packing_to_name(lists: Path) -> None:
    media = lists.parent.parent / "media"
    media.mkdir()
    (media / "--PJHxphWEs.wav").write_bytes(b"nothing of a sound")
    [clip] = find_segments([lists], media, NAMES).clips
    assert (clip.start, clip.end) == (30.0, 40.0)


def test_of_several_files_the_cut_out_is_taken_then_the_first_by_path(lists: Path) -> None:
    media = lists.parent.parent / "media"
    for file in ("b/--PJHxphWEs.wav", "c/Y--PJHxphWEs_30.000_40.000.wav", "d/--PJHxphWEs_30.wav"):
        sound(media / file, 0.1)
    found = find_segments([lists], media, NAMES)
    assert [clip.path for clip in found.clips] == [str(media / "c/Y--PJHxphWEs_30.000_40.000.wav")]
    assert found.ambiguous == 1
    for file in ("zzzzzzzzzzz.wav", "!folder/zzzzzzzzzzz.wav"):  # read in this order, and sorted in the other
        sound(media / file, 0.1)
    assert find_segments([lists], media, NAMES).clips[1].path == str(media / "!folder/zzzzzzzzzzz.wav")
    with pytest.warns(UserWarning) as told:
        audioset(lists, media)
    assert "2 segments have several files" in str(told[1].message)


# --- clips


def test_clips_have_names_of_labels_groups_splits_and_numbers(lists: Path) -> None:
    media = lists.parent.parent / "media"
    for video, *_ in ROWS:
        sound(media / f"{video}.wav", 0.1)
    clips = audioset(lists, media)
    assert [clip.id for clip in clips] == [
        "--PJHxphWEs_30000",
        "Yabcdefghij_0",
        "abcdefghij__5500",
        "a-23456789__120000",
        "zzzzzzzzzzz_10000",
    ]
    assert clips[0].labels == ("Speech", "Male speech, man speaking")
    assert clips[2].labels == ("Speech", 'Sounds called "oh", and others', "Crumpling, crinkling")
    assert clips[0].attributes == {"list": "balanced_train", "mids": "/m/a;/t/c"}
    assert {clip.split for clip in clips} == {"train"}
    assert [clip.group for clip in clips] == [video for video, *_ in ROWS]
    assert open_corpus(lists, media) == ("audioset", clips) == open_corpus(f"audioset:{lists}", media)


def test_a_folder_of_lists_is_one_corpus_and_media_may_lie_beside_them(lists: Path) -> None:
    write_list(lists.parent / "eval_segments.csv", [("eeeeeeeeeee", 0.0, 10.0, "/m/a")])
    of_the_same_labels = [("uuuuuuuuuuu", 0.0, 10.0, "/m/a")]
    write_list(lists.parent / "unbalanced_train_segments.csv", of_the_same_labels)
    for video in ("zzzzzzzzzzz", "eeeeeeeeeee", "uuuuuuuuuuu"):
        sound(lists.parent / "some" / f"Y{video}.wav", 0.1)
    with pytest.warns(UserWarning, match="4 of 7 segments have no file"):
        name, clips = open_corpus(lists.parent)
    assert [(clip.group[0], clip.split, clip.attributes["list"]) for clip in clips] == [
        ("z", "train", "balanced_train"),
        ("e", "eval", "eval"),
        ("u", "train", "unbalanced_train"),
    ]


def test_what_is_missing_is_counted_and_only_all_is_an_error(lists: Path) -> None:
    media = lists.parent.parent / "media"
    sound(media / "zzzzzzzzzzz.wav", 0.1)
    sound(media / "--PJHxphWEs_1_2.wav", 0.1)
    sound(media / "qqqqqqqqqqq.wav", 0.1)
    with pytest.warns(UserWarning) as told:
        assert len(audioset(lists, media)) == 1
    assert str(told[0].message) == (
        f"{lists}: 4 of 5 segments have no file in {media} (1 have a file of another range) and are left "
        "out: --PJHxphWEs_30000, Yabcdefghij_0, abcdefghij__5500, ..."
    )
    (media / "zzzzzzzzzzz.wav").unlink()
    with pytest.raises(ValueError, match=r"media: has none of the 5 segments .* as ID, ID_START"):
        audioset(lists, media)
    with pytest.raises(ValueError, match="nothing: not a folder"):
        audioset(lists, media / "nothing")


def test_the_folder_of_media_is_gone_through_once(lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = lists.parent.parent / "media"
    sound(media / "zzzzzzzzzzz_10.wav", 0.1)
    (media / "again").symlink_to(media)
    walks = []
    real = os.walk
    monkeypatch.setattr("os.walk", lambda *a, **k: walks.append(a) or real(*a, **k))
    write_list(lists.parent / "eval_segments.csv", [("eeeeeeeeeee", 0.0, 10.0, "/m/a")])
    found = find_segments(find_lists(lists.parent), media, NAMES)
    assert (len(walks), len(found.clips), found.ambiguous) == (1, 1, 0)
    assert list(scan_media(media)) == ["zzzzzzzzzzz"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("30.000, 40.000", "40.000, 30.000", r"row 4: a segment from 40\.000 to 30\.000 s makes no sense"),
        ("30.000, 40.000", "x, 40.000", r"row 4: could not convert"),
        ("30.000, 40.000", "nan, 40.000", r"row 4: a segment from nan"),
        ("Yabcdefghij", "Yabc", "row 5: 'Yabc' is no id of a video"),
        ('"/m/b"\n', "/m/b,/m/a\n", "row 5: expected video, start, end and labels in quotation marks, got 5"),
        ('"/m/b"\n', '"/m/b\n', "row [0-9]+: unexpected end of data|row [0-9]+: ',' expected"),
        ("/t/c", "/m/unknown", "no name for the label /m/unknown in class_labels_indices.csv"),
        ("zzzzzzzzzzz, 10.000", "Yabcdefghij, 0.000", "a segment is twice in .*Yabcdefghij_0"),
        ("# YTID, start", "# YTID; start", "none of these|not a list|no such|column path"),
    ],
)
def test_a_damaged_list_is_refused_and_its_row_named(lists: Path, old: str, new: str, message: str) -> None:
    media = lists.parent.parent / "media"
    for video, *_ in ROWS:
        sound(media / f"{video}.wav", 0.1)
    text = lists.read_text()
    assert old in text
    lists.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        if "YTID" in old:
            list(read_segments(lists))
        else:
            audioset(lists, media)


def test_a_list_that_was_cut_off_is_told(lists: Path) -> None:
    lists.write_text("\n".join(lists.read_text().splitlines()[:5]) + "\n")
    with pytest.warns(UserWarning, match="its second line says 5 segments, and it has 2"):
        assert len(list(read_segments(lists))) == 2


def test_a_video_in_a_training_and_an_evaluation_list_is_a_leak(lists: Path, tmp_path: Path) -> None:
    write_list(lists.parent / "eval_segments.csv", [("zzzzzzzzzzz", 50.0, 60.0, "/m/a")])
    media = lists.parent.parent / "media"
    sound(media / "zzzzzzzzzzz.wav", 61)
    with (
        pytest.warns(UserWarning, match="4 of 6"),
        pytest.raises(ValueError, match="group 'zzzzzzzzzzz' is in 'eval' and 'train'"),
    ):
        pack(lists.parent, tmp_path / "pack", media=media, jobs=1, quiet=True)


def test_a_folder_of_media_is_for_audioset_alone(tmp_path: Path) -> None:
    sound(tmp_path / "dog" / "a.wav", 0.1)
    with pytest.raises(ValueError, match="was taken for folders, and a folder of media is for AudioSet's"):
        open_corpus(tmp_path, tmp_path)
    assert not is_audioset(tmp_path / "nothing") and not is_audioset(tmp_path)


# --- labels and ontology


def test_names_come_from_the_table_or_from_the_ontology(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"class_labels_indices\.csv or ontology\.json is missing"):
        read_names(tmp_path)
    entry = {"child_ids": [], "restrictions": []}
    sounds = [{"id": mid, "name": name, **entry} for mid, name in NAMES.items()]
    (tmp_path / "ontology.json").write_text(json.dumps(sounds))
    assert read_names(tmp_path) == NAMES
    write_classes(tmp_path)
    assert read_names(tmp_path) == NAMES == read_classes(tmp_path / "class_labels_indices.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,mid\n0,/m/a\n", "expected the columns index, mid, display_name; display_name is missing"),
        ("index,mid,display_name\nx,/m/a,Speech\n", "row 2: index is not a number: 'x'"),
        ("index,mid,display_name\n0,/m/a,Speech\n1,/m/b,Speech\n", "/m/b has no name of its own: 'Speech'"),
        ('index,mid,display_name\n0,/m/a,""\n', "/m/a has no name of its own"),
    ],
)
def test_a_damaged_table_of_classes_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "class_labels_indices.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_names(tmp_path)


def ontology(tmp_path: Path, children: dict[str, list[str]]) -> Path:
    kinds = {"A": ["abstract"], "D": ["blacklist"]}
    entries = [
        {"id": mid, "name": mid.upper(), "child_ids": below, "restrictions": kinds.get(mid.upper(), [])}
        for mid, below in children.items()
    ]
    (tmp_path / "ontology.json").write_text(json.dumps(entries))
    return tmp_path / "ontology.json"


def test_a_sound_may_have_several_parents(tmp_path: Path) -> None:
    file = ontology(tmp_path, {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []})
    assert parents(file) == {"A": [], "B": ["A"], "C": ["A"], "D": ["B", "C"]}
    assert restricted(file) == {"A": ("abstract",), "D": ("blacklist",)}
    assert read_ontology(file)["a"].children == ("b", "c")


def test_an_ontology_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a has a child x, which is not in the ontology"):
        read_ontology(ontology(tmp_path, {"a": ["x"]}))
    with pytest.raises(ValueError, match="is its own ancestor"):
        read_ontology(ontology(tmp_path, {"a": ["b"], "b": ["c"], "c": ["b"]}))
    for text in ("{", "{}x", '[{"id": 1}]', "[1]"):
        (tmp_path / "ontology.json").write_text(text)
        with pytest.raises(ValueError, match="not an ontology of AudioSet"):
            read_ontology(tmp_path / "ontology.json")


# --- packed


@pytest.mark.filterwarnings("default")  # as on the command line
def test_lists_pack_with_the_right_seconds_of_every_file(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    media = tmp_path / "media"
    sound(media / "--PJHxphWEs.wav", 45)
    sound(media / "Yabcdefghij__5500_12000.wav", 6.5)
    sound(media / "part1" / "Ya-23456789_.flac", 10)
    sound(media / "zzzzzzzzzzz.wav", 8)  # of the video there is less than where its segment begins: cut out
    with pytest.raises(SystemExit) as ended:
        main([*f"pack {lists} {tmp_path / 'pack'} --media {media} --rate {RATE} --jobs 1".split()])
    assert ended.value.code == 0
    err = capsys.readouterr().err
    assert f"auricle: warning: {lists}: 1 of 5 segments have no file in {media} and are left out" in err
    reader = Pack(tmp_path / "pack")
    assert reader.ids.tolist() == [
        "--PJHxphWEs_30000",
        "abcdefghij__5500",
        "a-23456789__120000",
        "zzzzzzzzzzz_10000",
    ]
    assert (reader.lengths / RATE).tolist() == [10.0, 6.5, 10.0, 8.0]
    assert reader.samples(0)[[0, -1]].tolist() == [30 * RATE // 10, 40 * RATE // 10 - 1]
    assert reader.samples(1)[0] == 0
    assert reader.manifest["source"] == "audioset"
    assert reader.attributes("mids")[1] == "/m/a,/m/b,/m/d".replace(",", ";")
    assert reader.label_names() == sorted(NAMES.values())
    paths = pq.read_table(tmp_path / "pack" / "clips.parquet")["path"].to_pylist()
    assert paths[2] == "part1/Ya-23456789_.flac"
