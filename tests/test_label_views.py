"""The most frequent labels as views of one pack: what is counted, what is kept, what is refused."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from running import run
from zipf_pack import write_zipf_pack

from auricle.datasets import Clip
from auricle.engine import pack
from auricle.engine.packing import Range
from auricle.shards import Pack, add_label_view, add_labels, most_frequent
from auricle.shards import labels as labels_module
from auricle.shards import reader as reader_module
from auricle.shards.writer import Decoded

LABELS = {  # by hand: d in 4 clips; a, c in 3; b in 2; e in 1
    "one": ("a", "c", "d"),
    "two": ("a", "d"),
    "three": ("c", "b", "d"),
    "four": ("a", "b", "c", "d"),
    "five": (),
    "six": ("e",),
}


def decode(clip: Range, rate: int) -> Decoded:
    return Decoded(pcm=np.ones(100, dtype=np.int16), clipped=0, warnings=[])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    clips = [
        Clip(
            id=name, path=f"{name}.wav", labels=labels, group=name, split="test" if name == "six" else "train"
        )
        for name, labels in LABELS.items()
    ]
    pack(clips, tmp_path / "pack", jobs=1, quiet=True, decode=decode)
    return tmp_path / "pack"


@pytest.fixture(scope="module")
def zipf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zipf_pack(tmp_path_factory.mktemp("zipf") / "pack", 5_000, 900)


def rows(reader: Pack, label_set: str) -> list[set[str]]:
    """The labels of every clip by name, read as a stranger would: from the Parquet table."""
    table = pq.read_table(reader.path / f"labels/{label_set}.parquet")
    names = json.loads(table.schema.metadata[b"labels"])
    return [{names[i] for i in clip} for clip in table["positive"].to_pylist()]


def test_labels_of_equal_count_are_taken_in_the_order_of_the_set(small: Path) -> None:
    assert most_frequent(small, 5) == ["d", "a", "c", "b", "e"]
    assert most_frequent(Pack(small), 2) == ["d", "a"]
    mapping = {name: labels for name, labels in LABELS.items() if labels}
    add_labels(small, "turned", mapping, names=["e", "d", "c", "b", "a"])
    assert most_frequent(small, 5, "turned") == ["d", "c", "a", "b", "e"]


def test_only_the_given_clips_are_counted_and_each_once(small: Path) -> None:
    assert most_frequent(small, 3, clips=np.array([2, 3, 2, 2])) == ["b", "c", "d"]
    assert Pack(small).label_counts(clips=np.array([0, 2, 2])).tolist() == [1, 1, 2, 2, 0]
    assert Pack(small).label_counts(clips=np.array([], dtype=int)).tolist() == [0] * 5
    for wrong in ([6], [-1]):
        with pytest.raises(ValueError, match="clips are numbered from 0 to 5"):
            Pack(small).label_counts(clips=np.array(wrong))


@pytest.mark.parametrize("at_a_time", [1 << 18, 700])
def test_counts_are_those_of_a_slow_count(
    zipf: Path, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "AT_A_TIME", at_a_time)
    reader = Pack(zipf)
    train = reader.select(["train"])
    of_clip = rows(reader, "labels")
    for clips in (None, train):
        slow = Counter(
            label for i in (range(len(reader)) if clips is None else clips) for label in of_clip[i]
        )
        counts = reader.label_counts(clips=clips)
        assert dict(slow) == {
            name: count for name, count in zip(reader.label_names(), counts, strict=True) if count
        }
        wanted = sorted(slow, key=lambda label: (-slow[label], label))
        assert most_frequent(reader, 300, clips=clips) == wanted[:300]
        assert most_frequent(reader, 40, clips=clips) == wanted[:40]


def test_a_view_has_the_labels_that_are_kept_and_no_others(zipf: Path) -> None:
    reader = Pack(zipf)
    before = {file: file.read_bytes() for file in zipf.rglob("*") if file.is_file()}
    chosen = most_frequent(reader, 50)
    entry = add_label_view(zipf, "top50", chosen)
    assert (entry["labels"], entry["view_of"], entry["soft"]) == (50, "labels", False)
    view = Pack(zipf)
    assert view.label_names("top50") == chosen
    wanted = [labels & set(chosen) for labels in rows(view, "labels")]
    assert rows(view, "top50") == wanted
    assert entry["positives"] == sum(map(len, wanted))
    clips = np.arange(0, len(view), 7)
    old = [view.label_names().index(label) for label in chosen]
    np.testing.assert_array_equal(view.targets(clips, "top50"), view.targets(clips)[:, old])
    indptr, indices = view.clip_labels("top50")
    assert all((np.diff(indices[a:b]) > 0).all() for a, b in zip(indptr[:-1], indptr[1:], strict=True))
    indptr, members = view.label_clips("top50")
    assert members[indptr[9] : indptr[10]].tolist() == [i for i, row in enumerate(wanted) if chosen[9] in row]
    assert view.verify() == []
    after = {file: file.read_bytes() for file in before}
    changed = [file.name for file in before if before[file] != after[file]]
    assert changed == ["manifest.json"]


def test_a_view_keeps_what_is_unknown_and_soft_scores(small: Path) -> None:
    add_labels(
        small,
        "votes",
        {"one": {"x": 0.9, "y": 0.25, "z": 0.75}, "three": {"z": 0.5, "x": 0.625}, "four": {"y": 1.0}},
        unknown={"two": ("x", "z"), "three": ("y",)},
    )
    add_label_view(small, "some", ["z", "x"], "votes")
    reader = Pack(small)
    clips = np.arange(6)
    for read in (
        lambda name: reader.targets(clips, name),
        lambda name: reader.targets(clips, name, soft=True),
        lambda name: reader.unknown(clips, name),
    ):
        np.testing.assert_array_equal(read("some"), read("votes")[:, [2, 0]])
    assert reader.targets(clips, "some", soft=True)[2].tolist() == [0.5, 0.625]
    table = pq.read_table(small / "labels/some.parquet")
    assert table["scored"].to_pylist()[0] == [0, 1]
    assert table["unknown"].to_pylist() == [[], [0, 1], [], [], [], []]


def test_a_view_of_a_view_is_a_view(small: Path) -> None:
    add_label_view(small, "first", ["d", "b", "a"])
    add_label_view(small, "second", ["a", "d"], "first")
    reader = Pack(small)
    np.testing.assert_array_equal(
        reader.targets(np.arange(6), "second"), reader.targets(np.arange(6))[:, [0, 3]]
    )


def test_a_pack_that_comes_from_its_source_again_knows_its_views(small: Path) -> None:
    add_label_view(small, "two", ["a", "b"])
    clips = [
        Clip(
            id=name, path=f"{name}.wav", labels=labels, group=name, split="test" if name == "six" else "train"
        )
        for name, labels in LABELS.items()
    ]
    assert pack(clips, small, jobs=1, quiet=True, decode=decode)["finished_before"]
    assert Pack(small).label_sets == ["labels", "two"]


def test_what_makes_no_sense_is_refused_and_leaves_the_pack_alone(small: Path) -> None:
    add_label_view(small, "there", ["a"])
    before = (small / "manifest.json").read_bytes()
    for k in (0, 6):
        with pytest.raises(ValueError, match=f"5 labels of set 'labels' occur .* from 1 to 5 .*, got {k}"):
            most_frequent(small, k)
    with pytest.raises(ValueError, match=r"4 labels of set 'labels' occur in these clips"):
        most_frequent(small, 5, clips=Pack(small).select(["train"]))
    for arguments, message in (
        (("new", ["a", "x", "y"]), "2 of 3 labels are not in label set 'labels': 'x', 'y'$"),
        (("new", ["a", "b", "a"]), "'a' is given twice"),
        (("new", []), "needs at least one label"),
        (("labels", ["a"]), "needs another name"),
        (("there", ["a"]), "'there' is there already"),
        (("../new", ["a"]), "a name of letters"),
        (("new", ["a"], "none"), "no label set 'none'; there are: labels, there"),
    ):
        with pytest.raises(ValueError, match=message):
            add_label_view(small, *arguments)
    with pytest.raises(ValueError, match="no such folder"):
        add_label_view(small / "nothing", "new", ["a"])
    assert (small / "manifest.json").read_bytes() == before
    add_label_view(small, "there", ["b"], replace=True)
    assert Pack(small).label_names("there") == ["b"]
    assert Pack(small).verify() == []


def test_a_list_of_more_values_than_32_bits_count_is_cut_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small:
        max = 7

    monkeypatch.setattr(labels_module.np, "iinfo", lambda kind: Small)
    wanted = [[1, 2, 3], [], [4, 5, 6, 7], [8] * 7, [], [9], []]
    indptr, values = labels_module.csr(wanted)
    made = labels_module._lists(indptr, values)
    assert made.to_pylist() == wanted
    assert made.num_chunks == 3
    assert labels_module._lists(*labels_module.csr([])).to_pylist() == []


def test_the_verb_lists_label_sets_with_counts_and_priors(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "labels", small, "--top", 2)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "label set  labels  positives",
        "labels          5         13",
        "",
        "label set labels: 5 labels; priors 0.167 to 0.667 in 6 clips",
        "label  clips  prior",
        "d          4  0.667",
        "a          3    0.5",
        "and 3 more: --top N prints more, --format json all",
    ]
    code, out, _ = run(capsys, "labels", small, "--split", "train", "--format", "json")
    described = json.loads(out)
    assert (code, described["clips"]) == (0, 5)
    assert described["labels"][0] == {"label": "d", "clips": 4, "prior": 0.8}
    assert described["labels"][-1] == {"label": "e", "clips": 0, "prior": 0.0}
    _, out, _ = run(capsys, "labels", small, "--split", "train")
    assert "5 labels, 1 of them without a clip; priors 0.4 to 0.8 in 5 clips" in out


def test_one_long_name_does_not_push_the_figures_out_of_the_window(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_labels(small, "long", {name: ["x" * 300, "d"] for name in LABELS}, names=["x" * 300, "d"])
    code, out, _ = run(capsys, "labels", small, "--label-set", "long")
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    assert f"{'x' * 59}…" in out and "--format json has them whole" in out
    _, out, _ = run(capsys, "labels", small, "--label-set", "long", "--format", "json")
    assert json.loads(out)["labels"][0]["label"] == "x" * 300


def test_the_verb_makes_views(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "labels", small, "--most-frequent", 2, "--name", "top", "--split", "train")
    assert (code, err) == (0, "")
    assert "made label set top: 2 labels; priors 0.6 to 0.8 in 5 clips" in out
    assert "top             2          7  view of labels" in out.splitlines()
    (tmp_path / "keep.txt").write_text("e\n\n c \n", encoding="utf-8")
    assert run(capsys, "labels", small, "--keep", tmp_path / "keep.txt", "--name", "kept")[0] == 0
    reader = Pack(small)
    assert reader.label_names("top") == ["d", "a"]
    assert reader.label_names("kept") == ["e", "c"]
    again = ["labels", small, "--keep", tmp_path / "keep.txt", "--name", "kept"]
    code, out, err = run(capsys, *again)
    assert (code, out) == (1, "") and "'kept' is there already" in err
    assert run(capsys, *again, "--label-set", "labels", "--replace")[0] == 0


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--most-frequent", 2), 2, "needs --name"),
        (("--name", "x"), 2, "needs --name, and --most-frequent or --keep"),
        (("--most-frequent", 2, "--keep", "f", "--name", "x"), 2, "choose one of"),
        (("--most-frequent", 9, "--name", "x"), 1, "5 labels of set 'labels' occur"),
        (("--keep", "no-such-file", "--name", "x"), 1, "no-such-file: No such file"),
        (("--subset", "none"), 1, "no subset 'none'; there are: none"),
    ],
)
def test_the_verb_says_what_is_wrong(
    small: Path, options: tuple, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "labels", small, *options)
    assert (code, out) == (status, "")
    assert message in err
    assert Pack(small).label_sets == ["labels"]
