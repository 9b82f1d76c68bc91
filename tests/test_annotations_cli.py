"""`auricle annotations`, `auricle urban-scenes` and annotated recordings packed: what is said and written."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from running import run
from test_annotations import TREE, table
from test_scenes import corpus, make_pack
from test_urban_scenes import TREE as SCENE_TREE

from auricle.datasets import open_corpus, sonyc_ust
from auricle.datasets.taxonomy import write_taxonomy
from auricle.shards import Pack, add_label_view, add_labels

ROWS = (
    "train,1,a.wav,7,1,0,0,0,1,0",
    "train,1,a.wav,8,1,0,0,1,1,1",
    "train,1,a.wav,9,0,0,1,0,1,0",
    "validate,2,b.wav,7,0,0,0,1,0,1",
    "validate,2,b.wav,8,0,0,0,0,0,0",
    "validate,2,b.wav,0,0,0,1,1,1,1",
)


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    """Annotations, their taxonomy, and recordings of three clips, one of which nobody annotated."""
    folder = tmp_path / "corpus"
    for place, name in (("train", "a"), ("validate", "b"), ("validate", "c")):
        (folder / "audio" / place).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(ord(name)).uniform(-0.1, 0.1, 4000)
        soundfile.write(folder / "audio" / place / f"{name}.wav", noise, 8000)
    table(folder, *ROWS)
    write_taxonomy(TREE, folder / "taxonomy.yaml")
    return folder


def test_the_table_says_how_far_annotators_agree(
    corpus_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(
        capsys,
        "annotations",
        corpus_folder / "annotations.csv",
        "--taxonomy",
        corpus_folder / "taxonomy.yaml",
    )
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("2 clips by 3 annotators, 2 or 3 a clip; 1 clip verified; mean alpha ")
    assert lines[1] == "rows: 6"
    row = next(line for line in lines if line.startswith("2-1_bark"))
    assert row.split() == ["2-1_bark", "5", "2", "0.00", "0.00", "-0.33", "2", "0", "0", "0", "1"]
    assert "Against the verified truth" in out and "A2" in out and "A3" not in out


def test_where_the_picture_cannot_go_is_told_before_anything_is_read(
    corpus_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> None:
        pytest.fail("read")

    monkeypatch.setattr("auricle.datasets.annotations.read_annotations", read)
    for out, said in (("x.txt", "expected a name that ends in .html"), ("no/x.png", "does not exist")):
        status, _, err = run(
            capsys, "annotations", corpus_folder / "annotations.csv", "--out", corpus_folder / out
        )
        assert status == 1 and said in err and len(err.splitlines()) == 1


def test_json_has_the_same_and_the_columns_spell_the_taxonomy(
    corpus_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "annotations", corpus_folder / "annotations.csv", "--format", "json")
    found = json.loads(out)
    assert status == 0
    assert [row["label"] for row in found["classes"]] == list(TREE.labels)
    assert found["notes"] == {"rows": 6} and "label_sets" not in found


def test_label_sets_are_written_over_a_pack_of_the_same_recordings(
    corpus_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "pack"
    annotations = corpus_folder / "annotations.csv"
    assert run(capsys, "pack", annotations, pack, "--rate", "8000", "--jobs", "1")[0] == 0
    reader = Pack(pack)
    assert reader.ids.tolist() == ["a.wav", "b.wav"] and reader.groups.tolist() == ["1", "2"]
    assert reader.splits.tolist() == ["train", "validate"]
    assert reader.attributes("verified").tolist() == ["no", "yes"]
    status, out, _ = run(capsys, "annotations", annotations, "--pack", pack)
    assert status == 0
    assert f"{pack}: label set agreement50: 2 clips, 6 positives, 1 clip by the verified truth" in out
    assert f"{pack}: label set verified: 2 clips, 4 positives" in out
    reader = Pack(pack)
    assert reader.label_names("agreement50") == list(TREE.labels)
    assert reader.taxonomy("agreement50") == TREE.as_dict()
    both = np.arange(2)
    assert reader.targets(both, "agreement50").astype(int).tolist() == [
        [1, 0, 0, 0, 1, 0],
        [0, 0, 1, 1, 1, 1],
    ]
    assert reader.unknown(both, "agreement50").astype(int).tolist() == [[0] * 6, [1, 1, 0, 0, 0, 0]]
    assert reader.unknown(both, "verified").astype(int).tolist() == [[1] * 6, [1, 1, 0, 0, 0, 0]]
    # A view keeps the taxonomy; a set that was made without one has none.
    add_label_view(pack, "coarse", ["1_engine", "2_dog"], "agreement50")
    add_labels(pack, "plain", {"a.wav": ["dog"]})
    reader = Pack(pack)
    assert reader.taxonomy("coarse") == TREE.as_dict()
    assert reader.taxonomy("plain") is None and reader.taxonomy() is None
    with pytest.raises(ValueError, match="no label set 'none'"):
        reader.taxonomy("none")


def test_thresholds_and_soft_targets_have_names_of_their_own(
    corpus_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "pack"
    annotations = corpus_folder / "annotations.csv"
    run(capsys, "pack", annotations, pack, "--rate", "8000", "--jobs", "1")
    run(capsys, "annotations", annotations, "--pack", pack, "--name", "verified")
    for share, name in (("0.25", "agreement25"), ("soft", "soft"), ("0.625", "agreement62-5")):
        status, _, err = run(capsys, "annotations", annotations, "--pack", pack, "--agreement", share)
        assert status == 0 and "label set 'verified' is there already and was kept" in err
        assert name in Pack(pack).label_sets
    soft = Pack(pack).targets(np.array([0]), "soft", soft=True)[0]
    np.testing.assert_allclose(soft, [2 / 3, 0, 1 / 3, 1 / 3, 1, 1 / 3], rtol=1e-6)
    status, _, err = run(capsys, "annotations", annotations, "--pack", pack, "--agreement", "soft")
    assert status == 1 and "label set 'soft' is there already" in err
    votes = ["--votes-only", "--name", "soft", "--replace", "--voters", "all", "--coarse", "fine"]
    assert run(capsys, "annotations", annotations, "--pack", pack, *votes)[0] == 0
    assert Pack(pack).targets(np.array([1]), "soft").sum() == 0


def test_clips_are_found_by_the_names_of_files_and_what_is_not_annotated_is_told(
    corpus_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "pack"
    run(capsys, "pack", f"folders:{corpus_folder / 'audio'}", pack, "--rate", "8000", "--jobs", "1")
    assert "train/a.wav" in Pack(pack).ids
    status, out, _ = run(capsys, "annotations", corpus_folder / "annotations.csv", "--pack", pack)
    assert status == 0
    assert "2 clips, 6 positives, 1 clip by the verified truth; 1 clip of the pack not annotated" in out
    third = Pack(pack).ids.tolist().index("validate/c.wav")
    assert Pack(pack).unknown(np.array([third]), "agreement50").all()


def test_a_pack_of_other_recordings_is_refused(
    corpus_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "pack"
    run(capsys, "pack", f"folders:{corpus_folder / 'audio'}", pack, "--rate", "8000", "--jobs", "1")
    other = table(tmp_path, "train,1,zzz.wav,7,1,0,0,0,1,0")
    status, out, err = run(capsys, "annotations", other, "--pack", pack)
    assert status == 1 and out == ""
    assert "none of its 3 clips is annotated: its ids are like 'train/a.wav'" in err and "'zzz.wav'" in err


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--agreement", "1"], 2, "'1'; expected a share from 0 to below 1, or soft"),
        (["--agreement", "most"], 2, "'most'; expected a share"),
        (["--name", "x"], 2, "add --pack DIR"),
        (["--taxonomy", "none.yaml"], 1, "none.yaml: no such file"),
        (["--out", "agreement.txt"], 1, "expected a name that ends in .html"),
        (["--pack", "nowhere"], 1, "nowhere: no such folder"),
    ],
)
def test_wrong_usage_is_one_line(
    corpus_folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], status: int, message: str
) -> None:
    found, out, err = run(capsys, "annotations", corpus_folder / "annotations.csv", *options)
    assert (found, out) == (status, "") and message in err


def test_recordings_are_found_to_any_depth_and_missing_ones_are_counted(
    corpus_folder: Path, tmp_path: Path
) -> None:
    name, clips = open_corpus(corpus_folder)
    assert name == "sonyc_ust" and [clip.id for clip in clips] == ["a.wav", "b.wav"]
    assert clips[0].path == str(corpus_folder / "audio" / "train" / "a.wav")
    assert clips[0].labels == ("1-1_small", "1_engine")
    (corpus_folder / "audio" / "train" / "a.wav").rename(corpus_folder / "audio" / "a.flac")
    assert open_corpus(corpus_folder)[1][0].path == str(corpus_folder / "audio" / "a.flac")
    with pytest.warns(UserWarning, match="1 of 2 recordings are not there and are left out, e.g. a.wav"):
        clips = sonyc_ust(corpus_folder / "annotations.csv", corpus_folder / "audio" / "validate")
    assert [clip.id for clip in clips] == ["b.wav"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: has none of the 2 recordings of .*, like a.wav"):
        open_corpus(corpus_folder, tmp_path / "empty")
    with pytest.raises(ValueError, match="nowhere: not a folder"):
        open_corpus(corpus_folder, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="audio: not annotations"):
        sonyc_ust(corpus_folder / "audio")


def test_a_sensor_in_two_splits_is_told_and_is_a_group_in_each(corpus_folder: Path) -> None:
    path = table(corpus_folder, *(row.replace("validate,2", "validate,1") for row in ROWS))
    with pytest.warns(
        UserWarning, match="1 sensors are in several splits, e.g. '1' in 'train' and 'validate'"
    ):
        clips = sonyc_ust(path)
    assert [clip.group for clip in clips] == ["1@train", "1@validate"]
    assert [clip.attributes["sensor_id"] for clip in clips] == ["1", "1"]


def test_a_table_that_only_looks_like_annotations_is_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path,labels,audio_filename,annotator_id\na.wav,dog,a,1\n")
    (tmp_path / "a.wav").touch()
    assert open_corpus(path)[0] == "manifest"


def test_urban_scenes_are_made_by_one_command(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    singles = make_pack(tmp_path_factory.mktemp("singles") / "pack", corpus())
    write_taxonomy(SCENE_TREE, tmp_path / "t.yaml")
    short = ["--set", "seconds=2", "--set", "longest=1", "--set", "shortest=0.5", "--set", "miss=0-0.1"]
    command = ["urban-scenes", singles, tmp_path / "out", "--scenes", "12", "--jobs", "1", *short]
    command += ["--split", "train=fold1,fold2", "--split", "test=fold3", "--taxonomy", tmp_path / "t.yaml"]
    status, out, _ = run(capsys, *command, "--seed", "2")
    assert status == 0
    assert f"{tmp_path / 'out'}: 24 scenes, 48.0 s of sound" in out
    counts = {line.split()[0]: line.split()[2] for line in out.splitlines()[2:8]}
    assert counts["agreement50"] == counts["verified"] == "12" and counts["events"] == "24"
    pack = Pack(tmp_path / "out")
    assert set(pack.splits) == {"train", "test"} and (tmp_path / "out" / "taxonomy.yaml").is_file()
    status, out, _ = run(capsys, "annotations", tmp_path / "out" / "annotations.csv")
    assert status == 0 and out.startswith("24 clips by ") and "12 clips verified" in out
    status, _, err = run(capsys, "urban-scenes", singles, tmp_path / "other", "--scenes", "train=9")
    assert status == 1 and "labels are none of its fine classes" in err
    status, _, err = run(capsys, *command, "--set", "misses=1")
    assert status == 1 and "urban scenes: no setting 'misses'" in err
