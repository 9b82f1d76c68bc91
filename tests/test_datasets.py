"""Corpora become clips: what is read, what is refused, and in which words."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from auricle.datasets import Clip, check_ids, check_leaks, esc50, folders, manifest, open_corpus

ESC50_HEADER = "path,fold,target,category,esc10,freesound_id,take,licence,author,title,url"


def touch(path: Path, seconds: float = 0.05) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(int(8000 * seconds)), 8000)
    return path


def table(folder: Path, text: str, name: str = "clips.csv") -> Path:
    touch(folder / "a.wav")
    touch(folder / "b.wav")
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_esc50_has_its_published_counts(shared_data: Path) -> None:
    name, clips = open_corpus(shared_data / "esc50" / "meta.csv")
    assert name == "esc50"
    assert len(clips) == 2000 == len({clip.id for clip in clips})
    for fold in range(1, 6):
        assert sum(clip.split == f"fold{fold}" for clip in clips) == 400
    labels = [clip.labels[0] for clip in clips]
    assert len(set(labels)) == 50
    assert {labels.count(label) for label in set(labels)} == {40}
    assert sum(clip.attributes["licence"] in ("CC0", "CC-BY") for clip in clips) == 1770
    assert Path(clips[0].path).is_file()
    check_leaks(clips)


def test_esc50_folds_share_only_the_four_recordings_that_are_known(shared_data: Path) -> None:
    clips = esc50(shared_data / "esc50")
    folds: dict[str, set[str]] = {}
    for clip in clips:
        folds.setdefault(clip.attributes["freesound_id"], set()).add(clip.split)
    assert {name for name, splits in folds.items() if len(splits) > 1} == {
        "131943",
        "134049",
        "209698",
        "234879",
    }
    assert sum("@" in clip.group for clip in clips) == 9


def test_esc50_is_known_by_its_columns_in_either_layout(tmp_path: Path) -> None:
    touch(tmp_path / "ours" / "audio" / "1-7-A-0.wav")
    row = "audio/1-7-A-0.wav,1,0,dog,True,7,A,CC0,x,y,z"
    (tmp_path / "ours" / "meta.csv").write_text(f"{ESC50_HEADER}\n{row}\n")
    (tmp_path / "release" / "meta").mkdir(parents=True)
    touch(tmp_path / "release" / "audio" / "1-7-A-0.wav")
    (tmp_path / "release" / "meta" / "esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n1-7-A-0.wav,1,0,dog,True,7,A\n"
    )
    for source in ("ours", "ours/meta.csv", "release", "release/meta/esc50.csv"):
        name, [clip] = open_corpus(tmp_path / source)
        assert (name, clip.id, clip.split, clip.group, clip.labels) == (
            "esc50",
            "1-7-A-0",
            "fold1",
            "7",
            ("dog",),
        )
        assert Path(clip.path).is_file()
    assert open_corpus(tmp_path / "ours")[1][0].attributes["licence"] == "CC0"


def test_a_leak_in_esc50_other_than_the_known_ones_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"audio/{fold}-7-A-0.wav,{fold},0,dog,True,7,A,CC0,x,y,z\n" for fold in (1, 2))
    (tmp_path / "meta.csv").write_text(f"{ESC50_HEADER}\n{rows}")
    with pytest.raises(ValueError, match="group '7' is in 'fold1' and 'fold2'"):
        check_leaks(esc50(tmp_path))


def test_a_row_of_esc50_that_is_cut_off_is_named(tmp_path: Path) -> None:
    row = "audio/1-7-A-0.wav,1,0,dog,True,7,A,CC0,x,y,z"
    (tmp_path / "meta.csv").write_text(f"{ESC50_HEADER}\n{row}\naudio/1-8-A-0.wav,1,0\n")
    with pytest.raises(ValueError, match=r"meta\.csv, row 3: 3 of 11 fields \(category is missing\)"):
        open_corpus(tmp_path)


def test_folders_are_classes(tmp_path: Path) -> None:
    for name in ("dog/b.wav", "dog/a.WAV", "cat/deep/er/c.wav", "cat/notes.txt", ".git/x.wav", "dog/.h.wav"):
        touch(tmp_path / "x.wav").rename(tmp_path / "y.wav")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "y.wav").rename(tmp_path / name)
    name, clips = open_corpus(tmp_path)
    assert name == "folders"
    assert [clip.id for clip in clips] == ["cat/deep/er/c.wav", "dog/a.WAV", "dog/b.wav"]
    assert [clip.labels for clip in clips] == [("cat",), ("dog",), ("dog",)]
    assert {clip.split for clip in clips} == {""}
    assert all(Path(clip.path).is_file() for clip in clips)


def test_folders_named_after_splits_are_splits(tmp_path: Path) -> None:
    for name in ("train/dog/a.wav", "Validation/dog/a.wav", "test/cat/a.wav"):
        touch(tmp_path / name)
    clips = folders(tmp_path)
    assert [(clip.split, clip.labels[0]) for clip in clips] == [
        ("validation", "dog"),
        ("test", "cat"),
        ("train", "dog"),
    ]
    check_ids(clips)
    check_leaks(clips)


def test_a_class_called_train_among_others_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "a.wav")
    touch(tmp_path / "tram" / "a.wav")
    assert [(clip.split, clip.labels) for clip in folders(tmp_path)] == [("", ("train",)), ("", ("tram",))]


def test_folders_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no media files"):
        folders(tmp_path)
    touch(tmp_path / "stray.wav")
    touch(tmp_path / "dog" / "a.wav")
    with pytest.raises(
        ValueError, match=r"1 file in no class folder, e\.g\. stray\.wav; expected CLASS/FILE"
    ):
        folders(tmp_path)
    with pytest.raises(ValueError, match="not a folder"):
        folders(tmp_path / "nothing")


def test_a_link_back_up_does_not_walk_for_ever(tmp_path: Path) -> None:
    touch(tmp_path / "dog" / "a.wav")
    (tmp_path / "dog" / "up").symlink_to(tmp_path)
    assert [clip.id for clip in folders(tmp_path)] == ["dog/a.wav"]


def test_a_manifest_keeps_every_column(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "path,labels,start,end,split,group,scores,licence\n"
        "a.wav,dog; cat,0.5,2,train,r1,0.9;0.25,CC0\n"
        'b.wav,,,,train,r2,,"by, me"\n',
    )
    name, [first, second] = open_corpus(path)
    assert name == "manifest"
    assert first == Clip(
        id="a.wav[0.5-2.0]",
        path=str(tmp_path / "a.wav"),
        start=0.5,
        end=2.0,
        labels=("dog", "cat"),
        split="train",
        group="r1",
        scores=(0.9, 0.25),
        attributes={"licence": "CC0"},
    )
    assert second == Clip(
        id="b.wav", path=str(tmp_path / "b.wav"), split="train", group="r2", attributes={"licence": "by, me"}
    )


def test_ranges_of_one_file_are_clips_of_one_group(tmp_path: Path) -> None:
    path = table(tmp_path, "path,labels,start,end\na.wav,x,0,1\na.wav,y,1,2\na.wav,z,2,\n")
    clips = manifest(path)
    assert [clip.id for clip in clips] == ["a.wav[0.0-1.0]", "a.wav[1.0-2.0]", "a.wav[2.0-]"]
    assert {clip.group for clip in clips} == {"a.wav"}


def test_parquet_and_csv_manifests_give_equal_clips(tmp_path: Path) -> None:
    path = table(tmp_path, "path,labels,start,end,scores,n\na.wav,x;y,0.5,1,0.5;1,3\nb.wav,,,,,4\n")
    columns = {
        "path": ["a.wav", "b.wav"],
        "labels": [["x", "y"], []],
        "start": [0.5, None],
        "end": [1.0, float("nan")],
        "scores": [[0.5, 1.0], None],
        "n": [3, 4],
    }
    pq.write_table(pa.table(columns), tmp_path / "clips.parquet")
    assert open_corpus(tmp_path / "clips.parquet")[1] == manifest(path)


def test_a_header_beyond_all_measure_is_refused_in_words(tmp_path: Path) -> None:
    path = table(tmp_path, f"path,labels,{'x' * 140_000}\na.wav,x,y\n")
    with pytest.raises(ValueError, match=r"clips\.csv, row 1: a field of more than 131,072 characters"):
        open_corpus(path)


def test_tables_from_a_spreadsheet_are_read(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufeffpath\tlabels\r\na.wav\tdog\r\n", "clips.tsv")
    assert manifest(path)[0].labels == ("dog",)
    odd = table(tmp_path, 'path,labels,note\na.wav,dog,"two\u2028lines\nhere"\n')
    assert manifest(odd)[0].attributes["note"] == "two\u2028lines\nhere"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,label\na.wav,x\n",
            "column path and labels missing: it has file, label; needed are path, labels",
        ),
        ("", "it has none"),
        (
            "path,start,end,label,score\na.wav,0,1,x,0.5\n",
            r"a table of events; auricle convert .*clips\.csv --format manifest --out manifest\.csv makes",
        ),
        ("path,labels\n", "no rows"),
        ("path,labels,start\na.wav,x,soon\n", "row 2: start is not a number: 'soon'"),
        ("path,labels,start,end\na.wav,x,2,1\n", "end 1.0 s is not after start 2.0 s"),
        ("path,labels,start\na.wav,x,-1\n", "start -1.0 s is negative"),
        ("path,labels,end\na.wav,x,inf\n", "end is not a finite number"),
        ("path,labels,scores\na.wav,x;y,0.5\n", "2 labels but 1 scores"),
        ("path,labels,scores\na.wav,x,1.5\n", "scores must lie between 0 and 1"),
        ("path,labels\na.wav,x;x\n", "a label is given twice"),
        ("path,labels\n,x\n", "path is empty"),
        ("path,labels\na.wav,x,y\n", r"clips\.csv, row 2: more fields than the 2 columns"),
        ("path,labels\nb.wav,x\na.wav\n", r"clips\.csv, row 3: 1 of 2 fields \(labels is missing\)"),
        ("path;labels\na.wav;x;y\n", "row 2: more fields .* that contains a semicolon into quotes"),
        ("path|labels\na.wav|x\n", r"column path and labels missing: it has path\|labels"),
        ('path,labels,start\na.wav,x,"1,234"\n', "row 2: start is not a number: '1,234'"),
        ('path,labels\na.wav,x\n"b.wav,y\nc.wav,z\n', r"csv, row 3: a quotation mark that is not closed"),
        ('path,labels\na.wav,"x\nb.wav,"y"\n', r"csv, row 2: a quotation mark that is not closed"),
        ('path,"labels\na.wav,x\n', r"csv, row 1: a quotation mark that is not closed"),
        (
            f"path,labels\na.wav,x\n\nb.wav,{'y' * 140_000}\n",
            r"clips\.csv, row 4: a field of more than 131,072 characters",
        ),
        ('path,labels,start\na.wav,"x\nx",soon\n', "row 2: start is not a number"),
        ("path,labels,path\na.wav,x,y\n", "a column is there twice"),
        ("path,labels\na.wav,x\na.wav,y\n", "clips 1 and 2 have the same id 'a.wav'"),
        (
            "path,labels\nno/c.wav,x\n",
            r"none of its first 1 files exists, e\.g\. .*c\.wav; paths are relative to",
        ),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        manifest(table(tmp_path, text))


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"path,labels\n\xff\xfe,x\n")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        manifest(tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(ValueError, match="not a Parquet file"):
        manifest(tmp_path / "a.parquet")


def test_unknown_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        open_corpus(tmp_path / "nothing.csv")
    (tmp_path / "notes.docx").write_text("x")
    with pytest.raises(ValueError, match=r"unknown kind of source, suffix '\.docx'"):
        open_corpus(tmp_path / "notes.docx")


def test_a_reader_can_be_named(tmp_path: Path) -> None:
    touch(tmp_path / "audio" / "a.wav")
    (tmp_path / "meta.csv").write_text(
        ESC50_HEADER + ",labels\naudio/a.wav,1,0,dog,True,7,A,CC0,x,y,z,hound\n"
    )
    assert open_corpus(tmp_path / "meta.csv")[1][0].labels == ("dog",)
    name, clips = open_corpus(f"manifest:{tmp_path / 'meta.csv'}")
    assert (name, clips[0].labels) == ("manifest", ("hound",))


def test_leaks_name_the_group_and_its_splits() -> None:
    rows = [
        ("a", "r1", "train"),
        ("b", "r1", "train"),
        ("c", "r2", "test"),
        ("d", "", "train"),
        ("e", "", "test"),
    ]
    clips = [Clip(id=name, path="x", group=group, split=split) for name, group, split in rows]
    check_leaks(clips)
    with pytest.raises(ValueError, match=r"group 'r2' is in 'test' and 'train' \(clips c, f\)"):
        check_leaks([*clips, Clip(id="f", path="x", group="r2", split="train")])
    with pytest.raises(ValueError, match="group 'r2' is in '' and 'test'"):
        check_leaks([*clips, Clip(id="f", path="x", group="r2")])


def test_importing_the_corpora_brings_no_heavy_library() -> None:
    heavy = "'pyarrow', 'av', 'numpy', 'soundfile', 'torch'"
    code = f"import sys, auricle.datasets; print([name for name in ({heavy}) if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_synthetic_twin_of_esc50_reads_as_its_table_says(tmp_path: Path) -> None:
    rows = [
        {
            "path": f"audio/{fold}-{fold}{kind}-A-{kind}.wav",
            "fold": fold,
            "target": kind,
            "category": f"kind{kind}",
        }
        | {"esc10": "False", "freesound_id": f"{fold}{kind}", "take": "A", "licence": "CC0"}
        for fold in range(1, 6)
        for kind in range(3)
    ]
    with (tmp_path / "meta.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    clips = esc50(tmp_path)
    assert len(clips) == 15
    assert {clip.split for clip in clips} == {f"fold{fold}" for fold in range(1, 6)}
    check_leaks(clips)
