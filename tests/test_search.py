"""An index of embeddings: it follows the recordings, and finds what a plain search finds."""

import csv
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import tiny_model
from onnx import numpy_helper
from running import run

from auricle.artifact import embedding_input, load_artifact, save_artifact, save_changed
from auricle.artifact.embeddings import embedding_fingerprint
from auricle.artifact.linear_graph import linear_graph
from auricle.embedding import embed_recording
from auricle.engine import Engine
from auricle.engine.embedding import EmbedOptions
from auricle.engine.indexing import index_files
from auricle.heads import save_head
from auricle.linear import fit_linear
from auricle.runners import load_runner
from auricle.runners.composed import embed_windows
from auricle.search import Moment, VectorIndex, find_moments
from auricle.search.examples import is_silent
from auricle.search.graphs import build_graph, can_graph, find_twins, open_graph
from auricle.search.layout import SEGMENTS, array_file, begin, read_contents
from auricle.search.nearest import keep_apart, rank
from auricle.search.writing import Heard, add_graph, commit, missing_graphs
from auricle.tagging import Tagger

RATE = tiny_model.RATE
HERE = Engine(kind="here", jobs=1)
ABOUT = {"model": "m", "given": "m", "fingerprint": "f", "rate": 1, "window": 2, "hop": 1, "size": 8}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("search") / "tiny", hop=1000, tail="align").path


def sound(path: Path, number: int, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    time_axis = np.arange(int(seconds * RATE)) / RATE
    loud = 0.3 * np.sin(2 * np.pi * (200 + 170 * number) * time_axis) + rng.uniform(-0.1, 0.1, len(time_axis))
    soundfile.write(path, loud, RATE)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        sound(
            tmp_path / "sounds" / ("deep" if number % 2 else ".") / f"{number}.wav",
            number,
            0.6 + 0.3 * number,
        )
    return tmp_path / "sounds"


def files_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.wav"))


def indexed(files: list[str], out: Path, model: Path, **more: Any) -> dict[str, Any]:
    options = EmbedOptions(model=str(model), precision="float16", threads=1)
    return index_files(files, out, options, **({"engine": HERE, "quiet": True} | more))


def rows(index: VectorIndex) -> list[tuple[Any, ...]]:
    """All that an index holds, in an order that its segments do not change."""
    spans, values = index.spans(index.alive), index.values(index.alive)
    named = zip(index.paths(index.alive), spans.tolist(), values.tolist(), strict=True)
    return sorted((path, *span, *value) for path, span, value in named)


def by_hand(files: list[str], model: Path) -> list[tuple[Any, ...]]:
    tagger, found = Tagger(model, threads=1), []
    for file in files:
        for part in embed_recording(tagger, file):
            stored = part.embeddings.astype(np.float16).astype(np.float64)
            for start, end, value in zip(part.starts, part.ends, stored, strict=True):
                found.append((str(Path(file).absolute()), start, end, *value))
    return sorted(found)


def close(left: list[tuple[Any, ...]], right: list[tuple[Any, ...]]) -> bool:
    return [row[:3] for row in left] == [row[:3] for row in right] and np.allclose(
        [row[3:] for row in left], [row[3:] for row in right], rtol=2e-3, atol=1e-6
    )


# --- what an index holds


def test_an_index_holds_the_embeddings_of_all_windows(folder: Path, tmp_path: Path, model: Path) -> None:
    files = files_of(folder)
    told = indexed(files, tmp_path / "index", model, task_bytes=20_000, segment_rows=16)
    index = VectorIndex(tmp_path / "index")
    assert len(index.segments) > 2  # recordings go on from one segment into the next
    assert close(rows(index), by_hand(files, model))
    assert told["windows"] == len(index) == len(index.alive) and told["recordings"] == len(files)
    assert np.allclose(index.norms(index.alive), np.linalg.norm(index.values(index.alive), axis=1))
    assert not (tmp_path / "index" / "journal").exists()


def test_what_is_unchanged_is_not_heard_again(folder: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "index"
    indexed(files_of(folder), out, model)
    before = {path: path.read_bytes() for path in (out / SEGMENTS).iterdir()}
    again = indexed(files_of(folder), out, model)
    assert (again["heard"], again["unchanged"], again["removed"]) == (0, 6, 0)
    assert {path: path.read_bytes() for path in (out / SEGMENTS).iterdir()} == before


@pytest.mark.parametrize("segment_rows", [8, 100_000])
def test_a_renewed_index_is_the_one_that_is_made_at_once(
    folder: Path, tmp_path: Path, model: Path, segment_rows: int
) -> None:
    out, small = tmp_path / "index", {"segment_rows": segment_rows}
    indexed(files_of(folder), out, model, **small)
    (folder / "0.wav").unlink()
    (folder / "deep" / "5.wav").unlink()
    sound(folder / "2.wav", 20, 1.7)  # another
    os.utime(folder / "4.wav", ns=(1, 1))  # the same sound, written at another time
    sound(folder / "new.wav", 21, 0.1)  # shorter than a window
    told = indexed(files_of(folder), out, model, gone=lambda path: not Path(path).exists(), **small)
    assert (told["heard"], told["unchanged"], told["removed"]) == (3, 2, 2)
    indexed(files_of(folder), tmp_path / "fresh", model, **small)
    assert rows(VectorIndex(out)) == rows(VectorIndex(tmp_path / "fresh"))
    named = {piece.segment for piece in read_contents(out) if piece.rows}
    assert {int(path.name[:5]) for path in (out / SEGMENTS).iterdir()} == named


def test_what_is_not_named_stays_unless_it_is_gone(folder: Path, tmp_path: Path, model: Path) -> None:
    files, out = files_of(folder), tmp_path / "index"
    indexed(files[:3], out, model)
    told = indexed(files[3:], out, model)
    assert (told["recordings"], told["removed"]) == (6, 0)


def test_a_recording_that_fails_is_named_and_tried_again(folder: Path, tmp_path: Path, model: Path) -> None:
    bad = folder / "bad.wav"
    bad.write_bytes(b"RIFF nothing")
    told = indexed(files_of(folder), tmp_path / "index", model)
    assert told["recordings"] == 6 and [path for path, one in told["told"].items() if one["error"]] == [
        str(bad)
    ]
    again = indexed(files_of(folder), tmp_path / "index", model)
    assert (again["heard"], again["unchanged"]) == (1, 6) and again["told"][str(bad)]["error"]
    sound(bad, 9, 1.0)
    assert indexed(files_of(folder), tmp_path / "index", model)["recordings"] == 7


def test_another_model_or_hop_is_refused(folder: Path, tmp_path: Path, model: Path) -> None:
    indexed(files_of(folder)[:1], tmp_path / "index", model)
    kept = {"hop": 1000, "tail": "align", "labels": ["a", "b"]}
    other = tiny_model.save(tmp_path / "other", content=tiny_model.graph(classes=2), **kept).path
    with pytest.raises(ValueError, match="fingerprint .*cannot be compared"):
        indexed(files_of(folder), tmp_path / "index", other)
    with pytest.raises(ValueError, match="a window every 0.5 s"):
        index_files(
            files_of(folder), tmp_path / "index", EmbedOptions(model=str(model), hop=0.5), engine=HERE
        )


def test_a_folder_of_something_else_is_refused(folder: Path, tmp_path: Path, model: Path) -> None:
    with pytest.raises(ValueError, match="holds something that is no index"):
        indexed(files_of(folder), folder, model)
    with pytest.raises(ValueError, match="on a disk of this machine"):
        indexed(files_of(folder), "s3://bucket/index", model)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no index; expected a folder"):
        VectorIndex(folder)


# --- killed


KILLED = """
import os, sys
import auricle.engine.indexing as indexing
import auricle.search.writing as writing
from auricle.engine import Engine
from auricle.engine.embedding import EmbedOptions

where, left = sys.argv[1], int(sys.argv[2])

def deadly(function):
    def call(*arguments, **more):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return function(*arguments, **more)
    return call

if where == "part":
    indexing._write = deadly(indexing._write)
elif where == "segment":
    writing.publish = deadly(writing.publish)
elif where == "contents":
    writing.write_contents = deadly(writing.write_contents)
elif where == "named":
    writing.remove_unnamed = indexing.remove_journal = deadly(writing.remove_unnamed)
options = EmbedOptions(model=sys.argv[3], precision="float16", threads=1)
indexing.index_files(
    sys.argv[5:], sys.argv[4], options, engine=Engine(kind="here"), quiet=True, task_bytes=1, segment_rows=16
)
"""


@pytest.mark.parametrize("where, left", [("part", 3), ("segment", 4), ("contents", 0), ("named", 0)])
def test_killed_at_any_moment_the_next_run_goes_on(
    folder: Path, tmp_path: Path, model: Path, where: str, left: int
) -> None:
    out, files = tmp_path / "index", files_of(folder)
    indexed(files[:1], out, model)
    whole = rows(VectorIndex(out))
    command = [sys.executable, "-c", KILLED, where, str(left), str(model), str(out), *files]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    if where != "named":
        assert rows(VectorIndex(out)) == whole  # as it was before
    if where == "part":
        sound(folder / "6.wav", 6, 1.0)  # the next run is given another recording, too
    told = indexed(files_of(folder), out, model, engine=Engine(jobs=1))
    assert told["recordings"] == len(files_of(folder))
    assert close(rows(VectorIndex(out)), by_hand(files_of(folder), model))
    assert not (out / "journal").exists()


def test_what_a_killed_run_had_finished_is_not_heard_again(
    folder: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, files = tmp_path / "index", files_of(folder)
    command = [sys.executable, "-c", KILLED, "part", "4", str(model), str(out), *files]
    assert subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True).returncode == 9
    finished = sorted((out / "journal").glob("*.part"))
    assert len(finished) == 4
    finished[0].write_bytes(finished[0].read_bytes()[:-1] + b"?")  # damaged since
    for file in files[1:4]:
        Path(file).rename(file + ".hidden")  # who hears it again, fails
    monkeypatch.setattr("auricle.engine.done._look_at", _as_before(files[1:4]))
    told = indexed(files, out, model, engine=Engine(jobs=1))
    assert not [one for one in told["told"].values() if one["error"]]
    assert told["recordings"] == 6


def _as_before(hidden: list[str]) -> Any:
    from auricle.engine.done import _look_at

    def look(file: str) -> Any:
        if file not in hidden:
            return _look_at(file)
        return _look_at(file + ".hidden")._replace(path=str(Path(file).absolute()))

    return look


def test_what_a_killed_run_had_finished_and_is_gone_since_is_dropped(
    folder: Path, tmp_path: Path, model: Path
) -> None:
    out, files = tmp_path / "index", files_of(folder)
    command = [sys.executable, "-c", KILLED, "part", "4", str(model), str(out), *files]
    assert subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True).returncode == 9
    Path(files[0]).unlink()
    told = indexed(files[3:4], out, model, gone=lambda path: not Path(path).exists())
    assert told["recordings"] == 3 and not told["removed"]  # the others that were finished are there
    assert close(rows(VectorIndex(out)), by_hand(files[1:4], model))


# --- what is found, held against a search in a few plain lines


def made_index(out: Path, count: int = 3000, *, files: int = 7, segment_rows: int = 700) -> VectorIndex:
    """Random embeddings, some of them twice and one of zeros; windows of 2 s, a second apart."""
    rng = np.random.default_rng(count)
    out.mkdir()
    begin(out, ABOUT)
    heard = []
    for number, part in enumerate(np.array_split(rng.standard_normal((count, 8)), files)):
        part[1] = part[0]
        part[2] = 0 if number == 3 else part[2]
        starts = np.arange(len(part), dtype=float)
        heard.append(Heard(f"/r/{number}.wav", 1, "", "", [(starts, starts + 2, part)]))
    commit(out, lambda piece: True, heard, 8, segment_rows=segment_rows)
    return VectorIndex(out)


def slow_find(
    index: VectorIndex, queries: np.ndarray, count: int, gap: float, per_file: int | None = None
) -> list[Moment]:
    """Every row, one by one, in Python."""
    scored = []
    for path, start, end, *value in rows(index):
        length = np.sqrt(sum(x * x for x in value))
        best = max(
            sum(x * y for x, y in zip(value, query, strict=True)) / (length or 1.0) / np.sqrt(sum(query**2))
            for query in queries
        )
        scored.append(Moment(path, start, end, round(float(best), 6)))
    scored.sort(key=lambda moment: (-moment.score, moment.path, moment.start))
    kept: list[Moment] = []
    for moment in scored:
        same = [other for other in kept if other.path == moment.path]
        if len(kept) < count and all(abs(other.start - moment.start) >= gap for other in same):
            if per_file is None or len(same) < per_file:
                kept.append(moment)
    return kept


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("gap, per_file", [(2.0, None), (0.0, None), (50.0, None), (2.0, 1)])
def test_an_exact_search_is_the_plain_one(
    tmp_path: Path, queries: int, gap: float, per_file: int | None
) -> None:
    index = made_index(tmp_path / "index")
    asked = np.random.default_rng(5).standard_normal((queries, 8))
    for count in (1, 10, 40):
        found = find_moments(index, asked, count=count, gap=gap, per_file=per_file, exact=True)
        assert found == slow_find(index, asked, count, gap, per_file)


def test_one_recording_that_has_all_the_best_leaves_room_for_others(tmp_path: Path) -> None:
    out = tmp_path / "index"
    out.mkdir()
    begin(out, ABOUT)
    rng, asked = np.random.default_rng(0), np.eye(8)[:1]
    loud = np.eye(8)[0] + 0.01 * rng.standard_normal((900, 8))
    rest = np.eye(8)[0] + 0.5 * rng.standard_normal((900, 8))
    times = np.arange(900.0)
    # The first segment holds the best 900 rows and then the next best, which must come before the second's.
    recordings = [("/a.wav", loud), ("/b.wav", rest + 0.3 * np.eye(8)[0]), ("/c.wav", rest[::-1] * 2)]
    heard = [Heard(name, 1, "", "", [(times, times + 2, values)]) for name, values in recordings]
    commit(out, lambda piece: True, heard, 8, segment_rows=1500)
    index = VectorIndex(out)
    for exact in (True, False):
        found = find_moments(index, asked, count=6, gap=2.0, per_file=2, exact=exact)
        assert found == slow_find(index, asked, 6, 2.0, 2)


def test_the_best_is_the_moment_itself_and_can_be_left_out(tmp_path: Path) -> None:
    index = made_index(tmp_path / "index")
    at = index.rows_of("/r/4.wav", 100.0, 101.0)
    asked = index.values(at[-1:])
    found = find_moments(index, asked, count=3, exact=True)
    assert (found[0].path, found[0].score) == ("/r/4.wav", 1.0)
    others = find_moments(index, asked, count=3, exact=True, without=("/r/4.wav", 100.0, 102.0))
    assert all(m.path != "/r/4.wav" or m.end <= 100.0 or m.start >= 102.0 for m in others)
    # The twin, which stands beside it, is not given: it is less than a window away.
    twin = find_moments(index, index.values(index.rows_of("/r/2.wav", 0.0, 0.5)), count=2, exact=True)
    assert twin[0][:2] == ("/r/2.wav", 0.0) and twin[1].score < 1.0


def test_more_is_asked_for_than_there_is(tmp_path: Path) -> None:
    index = made_index(tmp_path / "index", 30, files=3, segment_rows=8)
    found = find_moments(index, np.ones((1, 8)), count=100, gap=0.0)
    assert len(found) == 30 and found == slow_find(index, np.ones((1, 8)), 100, 0.0)


def test_an_example_that_is_like_nothing_is_refused(tmp_path: Path) -> None:
    index = made_index(tmp_path / "index", 30, files=3)
    with pytest.raises(ValueError, match="zero everywhere"):
        find_moments(index, np.zeros((1, 8)))
    with pytest.raises(ValueError, match=r"expected embeddings \(Q, 8\)"):
        find_moments(index, np.ones((1, 4)))


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    begin(tmp_path, ABOUT)
    assert find_moments(VectorIndex(tmp_path), np.ones((1, 8))) == []


def test_rows_of_removed_recordings_are_not_found(tmp_path: Path) -> None:
    index = made_index(tmp_path / "index", 2100, files=7, segment_rows=900)
    asked = index.values(index.rows_of("/r/1.wav", 5.0, 6.0)[:1])
    # A third of the first segment goes: the others stay where they are.
    commit(tmp_path / "index", lambda piece: piece.path != "/r/1.wav", [], 8, segment_rows=900)
    after = VectorIndex(tmp_path / "index")
    assert len(after.alive) == len(after) == 1800 and after.offsets[-1] > 1800
    found = find_moments(after, asked, count=5, exact=True)
    assert "/r/1.wav" not in {moment.path for moment in found}
    assert found == slow_find(after, asked, 5, 2.0)


def test_neighbours_are_kept_apart() -> None:
    starts = np.array([3.0, 3.1, 5.0, 5.5, 6.9, 7.0])
    kept = keep_apart(np.full(6, 4), starts, 9, 2.0)
    assert starts[kept].tolist() == [3.0, 5.0, 7.0]


# --- graphs

graphs = pytest.mark.skipif(not can_graph(), reason="usearch is not installed")


@graphs
def test_a_graph_finds_what_an_exact_search_finds(tmp_path: Path) -> None:
    index = made_index(tmp_path / "index", 6000, segment_rows=2000)
    assert missing_graphs(index.path, 2001) == []
    for number, count in missing_graphs(index.path, 1000):
        assert count == 2000
        add_graph(index.path, number, threads=1)
    assert missing_graphs(index.path, 1000) == []
    linked, right = VectorIndex(index.path), 0
    assert all(segment.graph is not None for segment in linked.segments)
    asked = np.random.default_rng(7).standard_normal((50, 8))
    for query in asked:
        exact = find_moments(linked, query[None], gap=0.0, exact=True)
        found = find_moments(linked, query[None], gap=0.0)
        right += len(set(exact) & set(found))  # with the same similarity to the last digit
    assert right >= 0.98 * 500
    several = find_moments(linked, asked[:4], count=20)
    assert len(set(several) & set(find_moments(linked, asked[:4], count=20, exact=True))) >= 19


@graphs
def test_recordings_in_the_order_of_time_do_not_become_islands(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    walks = [rng.standard_normal(16) + np.cumsum(0.02 * rng.standard_normal((100, 16)), 0) for _ in range(40)]
    asked = np.stack([walk[rng.integers(100)] + 0.1 * rng.standard_normal(16) for walk in walks])
    values = np.concatenate(walks).astype(np.float16)
    unit = values / np.linalg.norm(values.astype(float), axis=1, keepdims=True)
    nearest = np.argsort(-(asked @ unit.T), axis=1)[:, :10]
    build_graph(values, tmp_path / "graph", threads=1)
    graph = open_graph(tmp_path / "graph", len(values))
    assert graph is not None
    found = [rows for rows, _ in graph.near(asked, 20)]
    right = sum(len(set(ten) & set(rows)) for ten, rows in zip(nearest.tolist(), found, strict=True))
    assert right >= 395  # 370 of 400 in the order of time


@graphs
@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_silence_does_not_hide_what_else_there_is(tmp_path: Path, noise: float) -> None:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((8000, 12)) @ rng.standard_normal((12, 64)) + 0.5 * rng.standard_normal(64)
    values = np.maximum(hidden, 0)
    values[:7000] = values[0] * (1 + noise * rng.standard_normal((7000, 64)))
    values[17] = 0  # and that is no direction
    out = tmp_path / "index"
    out.mkdir()
    begin(out, ABOUT | {"size": 64})
    starts = np.arange(8000.0)
    commit(out, lambda piece: True, [Heard("/a.wav", 1, "", "", [(starts, starts + 2, values)])], 64)
    add_graph(out, 0, threads=1)
    index, right = VectorIndex(out), 0
    assert index.segments[0].graph is not None
    for query in values[-50:] + 0.01 * rng.standard_normal((50, 64)):
        exact = find_moments(index, query[None], gap=0.0, exact=True)
        right += len(set(exact) & set(find_moments(index, query[None], gap=0.0)))
    assert right >= 490
    silence = find_moments(index, values[:1], gap=2.0, count=100)  # copies that are no neighbours
    assert len(silence) == 100 and silence[-1].score > 0.999
    twins = find_twins(index.segments[0].values)
    assert twins[17] == -1 and (len(np.unique(twins)) == 1002) == (noise == 0)


def index_of_copies(out: Path, originals: np.ndarray, copies: list[int], **more: Any) -> VectorIndex:
    """Recordings of a window each, under several names: a folder of names for each copy; with a graph."""
    out.mkdir()
    begin(out, ABOUT | {"size": originals.shape[1]} | more)
    span = np.array([0.0]), np.array([2.0])
    heard = [
        Heard(f"/r/{copy}/{number:04d}.wav", 1, "", "", [(*span, originals[number : number + 1])])
        for copy in range(max(copies))
        for number in np.flatnonzero(np.array(copies) > copy)
    ]
    commit(out, lambda piece: True, heard, originals.shape[1])
    add_graph(out, 0, threads=1)
    index = VectorIndex(out)
    assert index.segments[0].graph is not None
    return index


@graphs
@pytest.mark.parametrize("count", [6, 40])
def test_all_copies_of_what_is_nearest_are_found_by_a_graph(tmp_path: Path, count: int) -> None:
    values = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float16)
    index = index_of_copies(tmp_path / "index", values, [9] * 400)
    for number in (7, 123, 399):
        found = find_moments(index, values[number : number + 1], count=count)
        assert [m.path for m in found[:9]] == [f"/r/{copy}/{number:04d}.wav" for copy in range(9)][:count]
        assert found == find_moments(index, values[number : number + 1], count=count, exact=True)
    several = values[[3, 300, 17]]
    assert find_moments(index, several, count=count) == find_moments(index, several, count=count, exact=True)


@graphs
def test_copies_without_number_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((30, 16)).astype(np.float16)
    copies = [300 if number < 5 else 1 for number in range(30)]  # more than are looked at in one go
    index = index_of_copies(tmp_path / "index", values, copies)
    for exact in (True, False):
        found = find_moments(index, values[4:5], count=10, exact=exact)
        assert [m.path for m in found] == sorted(f"/r/{copy}/0004.wav" for copy in range(300))[:10]
        found = find_moments(index, values[4:5], count=302, exact=exact)
        assert [m.score for m in found[:300]] == [1.0] * 300 and found[300].score < 1.0


@graphs
def test_a_graph_and_an_exact_search_agree_where_many_rows_are_twins(tmp_path: Path) -> None:
    rng, right, total = np.random.default_rng(2), 0, 0
    values = rng.standard_normal((900, 12)).astype(np.float16)
    copies = rng.geometric(0.15, 900).tolist()  # seven as a rule, forty of some
    index = index_of_copies(tmp_path / "index", values, copies)
    for query in [*values[:20].astype(float), *rng.standard_normal((20, 12))]:
        for count, gap in ((10, 2.0), (50, 0.0)):
            exact = find_moments(index, query[None], count=count, gap=gap, exact=True)
            found = find_moments(index, query[None], count=count, gap=gap)
            right, total = right + len(set(exact) & set(found)), total + count
    assert right >= 0.995 * total, right / total


@graphs
def test_find_gives_all_copies_of_a_recording_with_a_graph_and_without(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        first = sound(tmp_path / "a" / f"{number:02d}.wav", number, 0.3)
        for copy in "bcdef":
            (tmp_path / copy).mkdir(exist_ok=True)
            shutil.copy(first, tmp_path / copy / first.name)
    indexed(files_of(tmp_path), tmp_path / "index", model, graph_rows=50)
    assert VectorIndex(tmp_path / "index").segments[0].graph is not None
    for number in (5, 21, 39):
        asked = ["find", tmp_path / "a" / f"{number:02d}.wav", "--index", tmp_path / "index", "--top", 9]
        asked += ["--format", "csv", "--threads", 1, "--per-file", 1]
        status, out, _ = run(capsys, *asked)
        assert (status, out) == run(capsys, *asked, "--exact")[:2] and status == 0
        found = [row["path"] for row in csv.DictReader(io.StringIO(out))][:5]
        assert found == [str(tmp_path / copy / f"{number:02d}.wav") for copy in "bcdef"]


@graphs
def test_a_damaged_graph_is_done_without(tmp_path: Path) -> None:
    index = made_index(tmp_path / "index", 3000, segment_rows=3000)
    add_graph(index.path, 0, threads=1)
    assert VectorIndex(index.path).segments[0].graph is not None
    array_file(index.path, 0, "usearch").write_bytes(b"nothing")
    damaged = VectorIndex(index.path)
    assert damaged.segments[0].graph is None
    asked = np.ones((1, 8))
    assert find_moments(damaged, asked) == slow_find(damaged, asked, 10, 2.0)


@graphs
def test_indexing_builds_graphs_where_they_pay(folder: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "index"
    indexed(files_of(folder), out, model)
    assert not list((out / SEGMENTS).glob("*.usearch"))
    indexed(files_of(folder), out, model, graph_rows=10)  # nothing new: only what is missing is made
    assert list((out / SEGMENTS).glob("*.usearch"))
    shutil.rmtree(folder / "deep")
    indexed(files_of(folder), out, model, gone=lambda path: not Path(path).exists(), graph_rows=10)
    assert {path.name[:5] for path in (out / SEGMENTS).iterdir()} == {"00001"}


# --- the verbs


@pytest.fixture
def made(folder: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Path]:
    out = tmp_path / "index"
    status, printed, _ = run(capsys, "index", folder, "--out", out, "--model", model, "--threads", 1)
    assert status == 0 and "of 6 recordings (6 heard, 0 unchanged, 0 removed)" in printed
    yield out


def test_find_says_where_an_example_sounds_again(
    made: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    excerpt = ["sounds/deep/5.wav", "--start", 0.5, "--end", 0.75, "--index", made, "--threads", 1]
    status, out, err = run(capsys, "find", *excerpt, "--format", "csv", "--top", 3)
    assert (status, err) == (0, "")
    found = list(csv.DictReader(io.StringIO(out)))
    assert [row["path"] for row in found] == ["sounds/deep/5.wav"] * 3  # the same tone, at other moments
    assert all(float(row["end"]) <= 0.5 or float(row["start"]) >= 0.75 for row in found)
    status, out, _ = run(capsys, "find", *excerpt, "--format", "jsonl", "--per-file", 1, "--exact")
    lines = [json.loads(line) for line in out.splitlines()]
    assert sorted(line["path"] for line in lines) == sorted(
        f"sounds/{'deep/' if n % 2 else ''}{n}.wav" for n in range(6)
    )
    assert [line["similarity"] for line in lines] == sorted(
        (line["similarity"] for line in lines), reverse=True
    )
    status, out, _ = run(capsys, "find", *excerpt)
    assert out.splitlines()[0].split() == ["similarity", "from", "to", "recording"]


def test_find_refuses_another_model_and_warns_of_a_short_example(
    made: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_model.save(tmp_path / "other", hop=900).path
    status, out, err = run(capsys, "find", folder / "0.wav", "--index", made, "--model", other)
    assert (status, out) == (1, "") and "cannot be compared" in err and len(err.splitlines()) == 1
    short = sound(tmp_path / "short.wav", 3, 0.1)
    status, out, err = run(capsys, "find", short, "--index", made)
    assert status == 0 and "0.10 s are less than the 0.25 s of a window" in err
    status, out, err = run(capsys, "find", short, "--index", tmp_path)
    assert (status, out) == (1, "") and "no index" in err


def calibrated(model: Path, out: Path) -> Path:
    """The same model, of which scores and what is shown are others."""
    maps = {"kind": "affine", "scale": [0.5, 2.0, 1.0], "offset": [1.0, -1.0, 0.0]}
    copy = save_changed(load_artifact(model), out, calibration=maps, thresholds=[0.1, 0.2, 0.3])
    assert copy.fingerprint != load_artifact(model).fingerprint
    return copy.path


def forget(index: Path, **changes: Any) -> None:
    """Make an index one of before there were fingerprints of embeddings."""
    about = json.loads((index / "index.json").read_text()) | changes
    del about["embedding_fingerprint"]
    (index / "index.json").write_text(json.dumps(about))


@pytest.mark.parametrize("old", [False, True])
def test_a_calibrated_copy_finds_what_the_model_finds(
    made: Path, folder: Path, model: Path, tmp_path: Path, old: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = calibrated(model, tmp_path / "calibrated")
    if old:
        forget(made)
    example = [folder / "0.wav", "--index", made, "--format", "csv", "--threads", 1]
    plain = run(capsys, "find", *example)
    assert plain[0] == 0 and len(plain[1].splitlines()) == 11
    assert run(capsys, "find", *example, "--model", copy) == plain
    sound(folder / "6.wav", 6, 0.7)
    status, out, err = run(capsys, "index", folder, "--out", made, "--model", copy, "--quiet")
    assert (status, err) == (0, "") and "(1 heard, 6 unchanged, 0 removed)" in out
    assert close(rows(VectorIndex(made)), by_hand(files_of(folder), model))
    assert len(VectorIndex(made).about["embedding_fingerprint"]) == 64  # an old index has it from now on
    again = run(capsys, "find", *example)
    assert again[0] == 0 and run(capsys, "find", *example, "--model", copy) == again


def test_an_old_index_whose_model_has_changed_takes_that_model_only(
    made: Path, folder: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = calibrated(model, tmp_path / "calibrated")
    gone = str(tmp_path / "gone")
    forget(made, given=gone, path=gone)
    example = [folder / "0.wav", "--index", made, "--threads", 1]
    assert run(capsys, "find", *example, "--model", model)[0] == 0
    status, out, err = run(capsys, "find", *example, "--model", copy)
    assert (status, out) == (1, "") and "this is the model tiny" in err and "cannot be compared" in err


def test_an_index_made_with_own_classes_takes_their_embedder(
    folder: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    classifier = fit_linear(rng.standard_normal((8, 4)), np.eye(2)[np.arange(8) % 2], kind="one", penalty=0.1)
    own = save_head(tmp_path / "own", calibrated(model, tmp_path / "calibrated"), classifier, ["a", "b"]).path
    index, plain = tmp_path / "index", tmp_path / "plain"
    for out, given in ((index, own), (plain, model)):
        assert run(capsys, "index", folder, "--out", out, "--model", given, "--quiet")[0] == 0
    assert close(rows(VectorIndex(index)), rows(VectorIndex(plain)))
    example = [folder / "0.wav", "--format", "csv", "--threads", 1]
    found = run(capsys, "find", *example, "--index", index)
    for given in (model, own):
        assert run(capsys, "find", *example, "--index", index, "--model", given) == found
    sound(folder / "6.wav", 6, 0.7)
    status, out, _ = run(capsys, "index", folder, "--out", index, "--model", model, "--quiet")
    assert status == 0 and "(1 heard, 6 unchanged, 0 removed)" in out
    shutil.rmtree(own)  # whoever throws the classifier away keeps the index
    assert run(capsys, "find", *example, "--index", index, "--model", model)[0] == 0
    other = tiny_model.save(tmp_path / "other", hop=1000).path  # its tail is another
    status, _, err = run(capsys, "find", *example, "--index", index, "--model", other)
    assert status == 1 and "holds embeddings of the model own" in err and "cannot be compared" in err


def test_what_decides_embeddings_and_what_does_not(model: Path, tmp_path: Path) -> None:
    artifact = load_artifact(model)
    before = embedding_fingerprint(artifact)
    features = artifact.inputs[0]["features"] | {"log_offset": 0.02}
    others: dict[str, Any] = {
        "window": 2400,
        "hop": 900,
        "tail": "drop",
        "inputs": [artifact.inputs[0] | {"features": features}],
        "architecture": {"name": "another"},
    }
    found = {embedding_fingerprint(dataclasses.replace(artifact, **{name: v})) for name, v in others.items()}
    found |= {embedding_fingerprint(artifact, hop=500)}
    louder = onnx.load_from_string(tiny_model.graph())
    kernel = next(weights for weights in louder.graph.initializer if weights.name == "kernel")
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * 2, "kernel"))
    kept = {"content": louder.SerializeToString(), "hop": 1000, "tail": "align"}
    found |= {embedding_fingerprint(tiny_model.save(tmp_path / "louder", **kept))}
    assert len(found - {before}) == len(others) + 2
    for change in ({"name": "x"}, {"labels": ("a", "b", "c")}, {"thresholds": [0.5] * 3}, {"licence": "x"}):
        assert embedding_fingerprint(dataclasses.replace(artifact, **change)) == before
    single = load_artifact(tiny_model.save_file(tmp_path / "tiny.onnx"))  # its metadata are no part of it
    assert embedding_fingerprint(dataclasses.replace(single, hop=1000, tail="align")) == before


def on_two_windows(path: Path, embedder: Path) -> Path:
    """A model that takes two embeddings at a time, whose own is both of them."""
    below = load_artifact(embedder)
    length = below.window + below.hop
    weights = np.random.default_rng(4).standard_normal((8, 2))
    wave = np.random.default_rng(5).uniform(-1, 1, (1, length)).astype(np.float32)
    check = (
        wave,
        (embed_windows(load_runner(below, threads=1), wave).reshape(1, 8) @ weights).astype(np.float32),
    )
    content = linear_graph(weights, np.zeros(2), softmax=False, windows=2)
    fields = {"inputs": [embedding_input(below, 2)], "window": length, "hop": length, "embedding_size": 8}
    return save_artifact(path, onnx=content, embedder=embedder, check=check, labels=["a", "b"], **fields).path


@pytest.mark.parametrize("windows", [1, 2])
def test_a_model_on_the_indexs_embedder_fits(
    made: Path,
    folder: Path,
    model: Path,
    tmp_path: Path,
    windows: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(2)
    classifier = fit_linear(rng.standard_normal((8, 4)), np.eye(2)[np.arange(8) % 2], kind="one", penalty=0.1)
    if windows == 1:
        own = save_head(tmp_path / "own", model, classifier, ["a", "b"]).path
    else:
        own = on_two_windows(tmp_path / "own", model)
    example = [folder / "0.wav", "--index", made, "--format", "csv", "--threads", 1]
    plain = run(capsys, "find", *example)
    assert plain[0] == 0 and run(capsys, "find", *example, "--model", own) == plain
    asked = ["--label", "a", "--out", tmp_path / "labels.csv", "--example", folder / "0.wav"]
    proposed = []
    for number, given in enumerate(([], ["--model", own])):
        todo = tmp_path / f"{number}.csv"
        assert run(capsys, "review", made, *asked, "--propose", todo, *given)[0] == 0
        proposed.append(todo.read_text())
    assert proposed[0] == proposed[1]
    sound(folder / "6.wav", 6, 0.7)
    status, out, err = run(capsys, "index", folder, "--out", made, "--model", own, "--quiet")
    assert (status, err) == (0, "") and "(1 heard, 6 unchanged, 0 removed)" in out
    assert close(rows(VectorIndex(made)), by_hand(files_of(folder), model))
    other = tiny_model.save(tmp_path / "other", hop=1000).path  # its tail is another
    on_other = save_head(tmp_path / "on-other", other, classifier, ["a", "b"]).path
    for verb in (["find", *example], ["index", folder, "--out", made]):
        status, _, err = run(capsys, *verb, "--model", on_other)
        assert status == 1 and "model on-other" in err and "cannot be compared" in err


def test_index_renews_by_the_same_command(
    made: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "0.wav").unlink()
    sound(folder / "7.wav", 7, 0.5)
    other = tmp_path / "others"
    sound(other / "x.wav", 8, 0.5)
    _, out, _ = run(capsys, "index", other, "--out", made)  # the model is the index's own
    assert "of 7 recordings (1 heard, 0 unchanged, 0 removed)" in out  # 0.wav is not asked after
    _, out, _ = run(capsys, "index", folder, "--out", made)
    assert "of 7 recordings (1 heard, 5 unchanged, 1 removed)" in out
    (other / "x.wav").unlink()
    status, out, err = run(capsys, "index", other, "--out", made)  # empty: perhaps a disk that is not there
    assert status == 1 and "no media files" in err and "of 7 recordings" in out
    sound(other / "y.wav", 9, 0.5)
    _, out, _ = run(capsys, "index", f"{other}/*.wav", "--out", made)
    assert "of 7 recordings (1 heard, 0 unchanged, 1 removed)" in out


def test_index_names_what_fails_and_refuses_pipes(
    made: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.wav").write_bytes(b"RIFF nothing")
    status, out, err = run(capsys, "index", folder, folder / "gone.wav", "--out", made)
    assert status == 1 and "of 6 recordings" in out
    assert [line for line in err.splitlines() if "bad.wav" in line] and "gone.wav: no such file" in err
    assert run(capsys, "index", "-", "--out", made)[0] == 2


@pytest.mark.parametrize("what", ["empty", "none/*.wav", "gone.wav", "bad.wav"])
@pytest.mark.parametrize("there", [False, True])
def test_of_nothing_no_index_is_made(
    tmp_path: Path, model: Path, what: str, there: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing")
    out = tmp_path / "index"
    if there:
        out.mkdir()
        (out / ".hidden").write_text("somebody else's")
    command = ["index", tmp_path / what, "--out", out, "--model", model, "--quiet"]
    status, printed, err = run(capsys, *command)
    assert (status, printed) == (1, "") and len(err.splitlines()) == 2
    assert Path(what).name in err.splitlines()[0] and f"{out}: no index was made" in err.splitlines()[1]
    assert [file.name for file in out.iterdir()] == [".hidden"] if there else not out.exists()
    assert "no index" in run(capsys, "find", tmp_path / "bad.wav", "--index", out)[2]
    good = sound(tmp_path / "good.wav", 1, 0.5)
    status, printed, _ = run(capsys, *command, good)
    assert status == 1 and "of 1 recording (" in printed  # and the others' mistakes are told
    status, printed, _ = run(capsys, *command)
    assert status == 1 and "of 1 recording (" in printed  # what is there stays


def test_no_model_is_run_where_nothing_has_changed(
    made: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("auricle.engine.embedding.Tagger", never)
    status, out, _ = run(capsys, "index", folder, "--out", made)
    assert status == 0 and "0 heard, 6 unchanged" in out


# --- what scale and silence do to a search


@pytest.mark.parametrize("gap", [0.0, 2.0, 250.0])
@pytest.mark.parametrize("per_file", [1, 2, 5])
def test_fewer_recordings_than_moments_asked_for(tmp_path: Path, gap: float, per_file: int) -> None:
    index = made_index(tmp_path / "index")  # 7 recordings of 429 s
    asked = np.random.default_rng(6).standard_normal((2, 8))
    expected = slow_find(index, asked, 50, gap, per_file)
    assert len(expected) == (min(per_file, 2) if gap > 2 else per_file) * 7
    for exact in (True, False):
        assert find_moments(index, asked, count=50, gap=gap, per_file=per_file, exact=exact) == expected
    for start in (20.0, 0.0):  # of the example's own recording something is left, or nothing
        found = find_moments(index, asked, count=50, per_file=1, without=("/r/3.wav", start, 3000.0))
        assert [m.path for m in found].count("/r/3.wav") == (start > 0)
        assert [m for m in found if m.path != "/r/3.wav"] == [
            m for m in slow_find(index, asked, 50, 2.0, 1) if m.path != "/r/3.wav"
        ]


def test_a_search_of_few_recordings_holds_few_rows(tmp_path: Path) -> None:
    index = made_index(tmp_path / "index", 60_000, files=3, segment_rows=60_000)
    asked = np.random.default_rng(6).standard_normal((1, 8))
    index.recordings(index.alive)  # the tables of recordings are there
    tracemalloc.start()
    # a recording's rows are a window apart at most, so all of them are looked at
    found = find_moments(index, asked, count=10, gap=1e6, exact=True)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 3 and most < 250 * 60_000  # bytes; a tuple a row takes more


@pytest.fixture(scope="module")
def hears_silence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose embedding of silence is not zero, as that of networks is."""
    graph = onnx.load_from_string(tiny_model.graph())
    next(node for node in graph.graph.node if node.op_type == "Conv").input.append("offset")
    graph.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "offset"))
    out = tmp_path_factory.mktemp("search") / "offset"
    return tiny_model.save(out, content=graph.SerializeToString(), hop=1000, tail="align").path


def test_silence_in_an_example_is_not_looked_for(
    folder: Path, tmp_path: Path, hears_silence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "index"
    dither = np.random.default_rng(0).integers(-1, 2, RATE) / 32768
    soundfile.write(folder / "silence.wav", np.zeros(RATE), RATE)
    assert run(capsys, "index", folder, "--out", out, "--model", hears_silence)[0] == 0
    loud, _ = soundfile.read(sound(tmp_path / "loud.wav", 3, 0.5))
    padded, silent = tmp_path / "padded.wav", tmp_path / "silent.wav"
    soundfile.write(padded, np.concatenate([loud, dither]), RATE)
    soundfile.write(silent, dither, RATE)
    status, printed, err = run(capsys, "find", padded, "--index", out, "--format", "csv", "--top", 5)
    assert status == 0, err
    assert "7 of 11 windows are digital silence and are not looked for" in err
    assert err.count(str(padded)) == len(err.splitlines()) == 1
    found = list(csv.DictReader(io.StringIO(printed)))
    assert found[0]["path"].endswith("3.wav") and float(found[0]["similarity"]) > 0.99
    assert not any(row["path"].endswith("silence.wav") for row in found[:3])
    status, printed, err = run(capsys, "find", silent, "--index", out)
    assert (status, printed) == (1, "") and f"{silent}: the example is digital silence" in err
    todo = ["--label", "tone", "--out", tmp_path / "labels.csv", "--propose", tmp_path / "todo.csv"]
    status, _, err = run(capsys, "review", out, *todo, "--order", "likely", "--example", padded, "--count", 3)
    assert (
        status == 0 and "7 of 11 windows" in err and "silence.wav" not in (tmp_path / "todo.csv").read_text()
    )
    status, _, err = run(capsys, "review", out, *todo, "--example", silent)
    assert status == 1 and "is digital silence" in err


def test_a_window_is_silent_where_none_of_its_frames_is_heard() -> None:
    silent = np.zeros((6, 3000), np.float32)
    silent[0, 2990:] = 0.1 * np.sin(np.arange(10))  # in the last, incomplete frame
    silent[1] = 0.25  # a constant is nothing to hear
    silent[2] = np.random.default_rng(0).integers(-1, 2, 3000) / 32768
    silent[3] = 1e-3 * np.sin(np.arange(3000))
    silent[4, 100:110] = 0.1
    assert is_silent(silent, RATE).tolist() == [False, True, True, False, False, True]
    assert is_silent(silent[:, :50], RATE).tolist() == [True, True, True, False, True, True]


def test_a_search_stops_where_every_recording_has_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, looked_at = made_index(tmp_path / "index"), []  # 7 recordings

    def watched(index: VectorIndex, positions: np.ndarray, queries: np.ndarray) -> Any:
        looked_at.append(len(positions))
        return rank(index, positions, queries)

    monkeypatch.setattr("auricle.search.nearest.rank", watched)
    asked = np.random.default_rng(6).standard_normal((1, 8))
    for per_file, without, expected in ((1, None, 7), (2, None, 14), (2, ("/r/3.wav", 0.0, 3000.0), 12)):
        found = find_moments(index, asked, count=20, gap=0.0, per_file=per_file, exact=True, without=without)
        assert len(found) == expected and max(looked_at) < 2000 < len(index)
