"""Embeddings of recordings and packs: the model's own, window by window, to Parquet and back into a pack."""

import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import tiny_model
from running import run

from auricle.artifact import load_artifact
from auricle.audio import AudioError
from auricle.datasets import Clip
from auricle.embedding import (
    add_table,
    embed_files,
    embed_pack,
    embed_recording,
)
from auricle.embedding_tables import GROUP_BYTES, EmbeddingTable, TableRows
from auricle.engine import pack
from auricle.hear import get_scene_embeddings, get_timestamp_embeddings, load_model
from auricle.runners import load_runner
from auricle.runners.windows import window_starts
from auricle.shards import Pack
from auricle.tagging import Tagger

RATE, WINDOW = tiny_model.RATE, tiny_model.WINDOW
LENGTHS = [1000, 2000, 7000, 2001, 12345, 5999]  # shorter than a window, as long, longer
ABOUT = {"model": "m", "fingerprint": "f", "rate": 8000, "window": 2000, "hop": 2000, "size": 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("embedding") / "tiny", hop=1500).path


def sound(number: int) -> np.ndarray:
    samples = np.random.default_rng(number).uniform(-0.5, 0.5, LENGTHS[number])
    return np.rint(samples * 32768).astype(np.int16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    here = tmp_path / "sounds"
    (here / "deep").mkdir(parents=True)
    for number in range(len(LENGTHS)):
        soundfile.write(path_of(here, number), sound(number), RATE)
    return here


def path_of(here: Path, number: int) -> Path:
    return here / ("deep" if number % 2 else ".") / f"{number}.wav"


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> Path:
    clips = [
        Clip(id=f"c{n}", path=str(path_of(folder, n)), labels=("a",), split="s", group=str(n))
        for n in range(len(LENGTHS))
    ]
    pack(clips, tmp_path / "pack", rate=RATE, jobs=1, quiet=True)
    return tmp_path / "pack"


def by_hand(model: Path, number: int, hop: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Starts in samples and embeddings, each window alone."""
    runner = load_runner(load_artifact(model), threads=1, batch=4)
    samples = sound(number).astype(np.float32) / 32768
    starts = window_starts(len(samples), WINDOW, hop, "drop")
    windows = np.zeros((len(starts), WINDOW), np.float32)
    for row, start in zip(windows, starts, strict=True):
        row[: len(samples[start : start + WINDOW])] = samples[start : start + WINDOW]
    return starts, np.concatenate([runner.run(window[None])[1] for window in windows])


def read(file: Path) -> tuple[pa.Table, np.ndarray]:
    table = pq.read_table(file)
    values = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return table, values.reshape(len(table), -1)


def paths(folder: Path) -> list[str]:
    return [str(path_of(folder, n)) for n in range(len(LENGTHS))]


def test_a_table_has_a_row_a_window(model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    result = embed_files(paths(folder), model, out, threads=1, quiet=True)
    table, values = read(out)
    assert table.schema.names == ["path", "start", "end", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 4)
    metadata = {key.decode(): text.decode() for key, text in table.schema.metadata.items()}
    artifact = load_artifact(model)
    assert metadata["model"] == "tiny" and metadata["fingerprint"] == artifact.fingerprint
    assert [metadata[key] for key in ("rate", "window", "hop", "size", "tail", "pooling")] == [
        "8000",
        "2000",
        "1500",
        "4",
        "drop",
        "none",
    ]
    row = 0
    for number, path in enumerate(paths(folder)):
        starts, embeddings = by_hand(model, number)
        here = slice(row, row + len(starts))
        assert table["path"].to_pylist()[here] == [path] * len(starts)
        np.testing.assert_allclose(table["start"].to_numpy()[here], starts / RATE)
        ends = np.minimum(starts + WINDOW, LENGTHS[number]) / RATE
        np.testing.assert_allclose(table["end"].to_numpy()[here], ends)
        np.testing.assert_array_equal(values[here], embeddings)
        row += len(starts)
    assert row == len(table) == result["windows"] and result["failures"] == 0
    assert result["seconds"] == pytest.approx(
        sum(float(np.minimum(by_hand(model, n)[0][-1] + WINDOW, LENGTHS[n])) for n in range(6)) / RATE
    )
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x.parquet"]


def test_hop_range_and_precision_are_as_asked(model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    embed_files(paths(folder)[4:5], model, out, hop=0.125, precision="float16", threads=1, quiet=True)
    table, values = read(out)
    starts, embeddings = by_hand(model, 4, hop=1000)
    assert table.schema.field("embedding").type == pa.list_(pa.float16(), 4)
    assert table.schema.metadata[b"hop"] == b"1000"
    np.testing.assert_allclose(table["start"].to_numpy(), starts / RATE)
    np.testing.assert_array_equal(values, embeddings.astype(np.float16))
    embed_files(paths(folder)[4:5], model, out, start=0.5, end=1.0, threads=1, quiet=True)
    table, _ = read(out)
    np.testing.assert_allclose(table["start"].to_numpy(), [0.5, 0.6875])
    with pytest.raises(ValueError, match=r"hop is 1e-05 s; expected at least a sample"):
        embed_files(paths(folder), model, out, hop=1e-5, quiet=True)
    with pytest.raises(ValueError, match="precision is 'float64'; expected float32 or float16"):
        embed_files(paths(folder), model, out, precision="float64", quiet=True)


def test_the_embedding_of_a_clip_is_the_mean_of_its_windows(
    model: Path, folder: Path, packed: Path, tmp_path: Path
) -> None:
    embed_files(paths(folder), model, tmp_path / "a.parquet", clips=True, threads=1, quiet=True)
    embed_pack(packed, model, out=tmp_path / "b.parquet", clips=True, threads=1, quiet=True)
    for file in ("a.parquet", "b.parquet"):
        table, values = read(tmp_path / file)
        assert len(table) == len(LENGTHS) and table.schema.metadata[b"pooling"] == b"mean"
        for number, value in enumerate(values):
            expected = by_hand(model, number)[1].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(value, expected, atol=1e-5)
        assert set(table["start"].to_pylist()) == {0.0}


def test_a_failure_is_told_and_the_rest_goes_on(model: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "bad.wav").write_bytes(b"RIFF nothing")
    inputs = [*paths(folder)[:2], str(folder / "bad.wav"), str(folder / "gone.wav"), *paths(folder)[2:3]]
    told: list[str] = []
    result = embed_files(
        inputs,
        model,
        tmp_path / "x.parquet",
        threads=1,
        quiet=True,
        fail=lambda path, error: told.append(Path(path).name),
    )
    assert told == ["bad.wav", "gone.wav"] and (result["files"], result["failures"]) == (5, 2)
    kept = {Path(path).name for path in pq.read_table(tmp_path / "x.parquet")["path"].to_pylist()}
    assert kept == {"0.wav", "1.wav", "2.wav"}
    with pytest.raises(AudioError):
        embed_files(inputs, model, tmp_path / "y.parquet", threads=1, quiet=True)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x.parquet"]
    assert not [thread for thread in threading.enumerate() if thread.name == "auricle-decode"]


def test_rows_go_to_the_disk_as_they_come(model: Path, tmp_path: Path) -> None:
    rows = GROUP_BYTES // (4 * 1024)
    about = ABOUT | {"size": 1024}
    with EmbeddingTable(tmp_path / "x.parquet", about) as table:
        for number in range(5):
            table.add(f"{number}.wav", np.arange(rows), np.arange(rows), np.full((rows, 1024), number))
            (partial,) = tmp_path.glob(".x.parquet.*.partial")
            assert not table._parts, "nothing is held back"
        assert partial.stat().st_size > 1000 and not (tmp_path / "x.parquet").exists()
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 5
    opened = TableRows(tmp_path / "x.parquet")
    for positions in (np.arange(len(opened)), np.arange(len(opened))[::-1], np.array([1, rows * 4, 3])):
        np.testing.assert_array_equal(opened.take(positions)[:, 7], positions // rows)
    assert len(opened._read) <= 2


def test_a_table_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"the old one")
    with (
        pytest.raises(KeyboardInterrupt),
        EmbeddingTable(tmp_path / "x.parquet", ABOUT) as table,
    ):
        table.add("a", [0.0], [1.0], np.zeros((1, 4)))
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]
    assert (tmp_path / "x.parquet").read_bytes() == b"the old one"
    with EmbeddingTable(tmp_path / "y.parquet", ABOUT, precision="float16") as table:
        for values, message in (
            (np.zeros((1, 5)), r"expected \(1, 4\)"),
            (np.full((1, 4), 1e6), "not finite"),
        ):
            with pytest.raises(ValueError, match=message):
                table.add("a", [0.0], [1.0], values)
    with pytest.raises(ValueError, match="does not exist; create it"):
        EmbeddingTable(tmp_path / "no" / "x.parquet", ABOUT)


def test_a_pack_is_embedded_into_itself(model: Path, packed: Path) -> None:
    entry = embed_pack(packed, model, name="tiny", threads=1, quiet=True)
    opened = Pack(packed)
    found = opened.embeddings("tiny")
    assert found.about == entry and entry["model"] == "tiny" and entry["hop"] == 1500
    for number in range(len(LENGTHS)):
        np.testing.assert_array_equal(found.clip(number), by_hand(model, number)[1].astype(np.float16))
    assert opened.verify() == []
    with pytest.raises(ValueError, match="'tiny' is there already"):
        embed_pack(packed, model, threads=1, quiet=True)
    embed_pack(packed, model, hop=0.25, replace=True, threads=1, quiet=True)
    again = Pack(packed).embeddings("tiny").about
    assert again["hop"] == 2000 and again["fingerprint"] != entry["fingerprint"]
    assert again["fingerprint"] == dataclasses.replace(load_artifact(model), hop=2000).fingerprint


@pytest.mark.parametrize("size", [1, 3, 64])
def test_batches_across_clips_change_nothing(
    model: Path, packed: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auricle import embedding

    runner = load_runner(load_artifact(model), threads=1, batch=4)
    rows = list(embedding.pack_embeddings(runner, Pack(packed), batch=size, quiet=True))
    assert len(rows) == len(LENGTHS)
    for number, row in enumerate(rows):
        np.testing.assert_array_equal(row.embeddings, by_hand(model, number)[1])
        np.testing.assert_allclose(row.starts, by_hand(model, number)[0] / RATE)


def test_a_pack_of_a_higher_rate_is_resampled_and_of_a_lower_refused(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    import soxr

    clips = [Clip(id="a", path=str(path_of(folder, 4)), labels=("a",), split="s", group="a")]
    for rate in (16000, 4000):
        pack(clips, tmp_path / f"p{rate}", rate=rate, jobs=1, quiet=True)
    embed_pack(tmp_path / "p16000", model, name="x", threads=1, quiet=True)
    found = Pack(tmp_path / "p16000").embeddings("x").clip(0)
    samples = Pack(tmp_path / "p16000").samples(0).astype(np.float32) / 32768
    down = soxr.resample(samples, 16000, RATE, quality="HQ")
    runner = load_runner(load_artifact(model), threads=1, batch=4)
    starts = window_starts(len(down), WINDOW, 1500)
    expected = runner.run(np.stack([down[start : start + WINDOW] for start in starts]))[1]
    np.testing.assert_array_equal(found, expected.astype(np.float16))
    with pytest.raises(ValueError, match="holds 4000 Hz and the model takes 8000 Hz"):
        embed_pack(tmp_path / "p4000", model, name="x", threads=1, quiet=True)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_pack_comes_back_from_parquet_to_the_last_bit(
    model: Path, packed: Path, tmp_path: Path, precision: str
) -> None:
    file = tmp_path / "x.parquet"
    embed_pack(packed, model, name="direct", threads=1, quiet=True)
    embed_pack(packed, model, out=file, precision=precision, threads=1, quiet=True)
    assert Pack(packed).embedding_sets == ["direct"], "a file is written in place of a set"
    entry = add_table(packed, file, "back")
    direct, back = (Pack(packed).embeddings(name) for name in ("direct", "back"))
    np.testing.assert_array_equal(back.values.view(np.uint16), direct.values.view(np.uint16))
    np.testing.assert_array_equal(back.indptr, direct.indptr)
    same = {"model", "fingerprint", "rate", "window", "hop", "size", "clips", "windows", "pooling"}
    assert {key: entry[key] for key in same} == {key: direct.about[key] for key in same}
    assert entry["clips_without"] == 0


def test_recordings_come_back_by_their_paths(model: Path, folder: Path, packed: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    shuffled = [paths(folder)[n] for n in (3, 0, 4, 2, 1)]  # another order, and 5 is missing
    embed_files(shuffled, model, file, threads=1, quiet=True)
    embed_pack(packed, model, name="direct", threads=1, quiet=True)
    entry = add_table(packed, file, "back")
    assert entry["clips_without"] == 1
    direct, back = (Pack(packed).embeddings(name) for name in ("direct", "back"))
    for number in range(5):
        np.testing.assert_array_equal(back.clip(number), direct.clip(number))
    assert back.clip(5).shape == (0, 4)


def test_a_clip_that_is_part_of_a_recording_has_the_windows_that_lie_in_it(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    path = str(path_of(folder, 4))
    clips = [
        Clip(id=f"c{start}", path=path, start=start, end=start + 0.5, labels=("a",), split="s", group="a")
        for start in (0.0, 0.3)
    ]
    pack(clips, tmp_path / "pack", rate=RATE, jobs=1, quiet=True)
    embed_files([path], model, tmp_path / "x.parquet", threads=1, quiet=True)
    add_table(tmp_path / "pack", tmp_path / "x.parquet", "back")
    back, expected = Pack(tmp_path / "pack").embeddings("back"), by_hand(model, 4)[1].astype(np.float16)
    # Windows of 0.25 s begin at 0, 0.1875, 0.375, 0.5625 ...
    np.testing.assert_array_equal(back.clip(0), expected[:2])
    np.testing.assert_array_equal(back.clip(1), expected[2:3])


def test_what_is_of_no_clip_or_of_two_recordings_is_refused(
    model: Path, folder: Path, packed: Path, tmp_path: Path
) -> None:
    file = tmp_path / "x.parquet"
    with EmbeddingTable(file, ABOUT, key="clip") as table:
        table.add("c1", [0.0], [1.0], np.zeros((1, 4)))
        table.add("other", [0.0], [1.0], np.zeros((1, 4)))
    with pytest.raises(ValueError, match="rows of 1 clips that are not in the pack, e.g. other"):
        add_table(packed, file, "x")
    with EmbeddingTable(file, ABOUT) as table:
        for place in ("here", "there"):
            table.add(f"{place}/0.wav", [0.0], [1.0], np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"here/0\.wav and there/0\.wav could both be 0\.wav of the pack"):
        add_table(packed, file, "x")
    with EmbeddingTable(file, ABOUT) as table:
        table.add("elsewhere/9.wav", [0.0], [1.0], np.zeros((1, 4)))
    with pytest.raises(ValueError, match="no row is of a clip of"):
        add_table(packed, file, "x")
    pq.write_table(pa.table({"a": [1]}), file)
    with pytest.raises(ValueError, match="expected columns path or clip, start, end, embedding and metadata"):
        add_table(packed, file, "x")
    file.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="not a Parquet file"):
        add_table(packed, file, "x")
    with pytest.raises(ValueError, match="no such file"):
        add_table(packed, tmp_path / "gone.parquet", "x")
    assert Pack(packed).embedding_sets == []


def test_a_stream_gives_what_the_file_gives(model: Path, folder: Path) -> None:
    tagger = Tagger(model, threads=1)
    with path_of(folder, 4).open("rb") as stream:
        parts = list(embed_recording(tagger, stream))
    np.testing.assert_array_equal(np.concatenate([part.embeddings for part in parts]), by_hand(model, 4)[1])


def test_the_three_functions_of_embedding_benchmarks(model: Path) -> None:
    loaded = load_model(model)
    assert (loaded.sample_rate, loaded.timestamp_embedding_size, loaded.scene_embedding_size) == (8000, 4, 4)
    audio = np.stack([np.resize(sound(number), 6000) for number in (2, 4)]).astype(np.float32) / 32768
    embeddings, timestamps = get_timestamp_embeddings(audio, loaded)
    assert embeddings.shape == (2, 3, 4) and timestamps.shape == (2, 3)
    np.testing.assert_allclose(timestamps[0], (np.array([0, 1500, 3000]) + 1000) / 8)
    runner = load_runner(load_artifact(model), threads=1, batch=4)
    for row in range(2):
        for window, start in enumerate((0, 1500, 3000)):
            alone = runner.run(audio[row : row + 1, start : start + WINDOW])[1][0]
            np.testing.assert_array_equal(embeddings[row, window], alone)
    scenes = get_scene_embeddings(audio, loaded)
    np.testing.assert_allclose(scenes, embeddings.mean(axis=1), atol=1e-6)
    assert get_timestamp_embeddings(audio[:, :500], loaded)[0].shape == (2, 1, 4)
    with pytest.raises(ValueError, match=r"expected sounds \(n, samples\), got \(6000,\)"):
        get_scene_embeddings(audio[0], loaded)


# --- the verb


def test_embed_writes_parquet_of_a_folder_and_names_what_failed(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.parquet"
    status, said, told = run(capsys, "embed", folder, "--model", model, "--out", out, "--threads", "1")
    windows = sum(len(by_hand(model, n)[0]) for n in range(6))
    assert status == 0 and said == f"{out}: {windows} windows of 6 recordings\n"
    (folder / "bad.wav").write_bytes(b"RIFF nothing")
    arguments = ("embed", folder, tmp_path / "gone", "--model", model, "--out", out, "--threads", "1")
    status, said, told = run(capsys, *arguments)
    assert status == 1 and said == f"{out}: {windows} windows of 6 recordings\n"
    assert "bad.wav" in told and "gone: no such file or folder" in told
    assert "2 of 8 inputs could not be embedded: they are named above" in told


def test_where_nothing_can_be_read_no_file_takes_the_place_of_an_older_one(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, out = tmp_path / "bad.wav", tmp_path / "x.parquet"
    bad.write_bytes(b"RIFF nothing")
    out.write_bytes(b"of yesterday")
    status, said, told = run(capsys, "embed", bad, "--model", model, "--out", out, "--threads", "1")
    assert (status, said) == (1, "") and "bad.wav" in told
    assert out.read_bytes() == b"of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.wav", "x.parquet"]


def test_embed_reads_a_pipe(model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    command = [sys.executable, "-m", "auricle", "embed", "-", "--model", str(model), "--out", str(out)]
    content = path_of(folder, 4).read_bytes()
    done = subprocess.run([*command, "--threads", "1"], input=content, capture_output=True, check=True)
    assert b"of 1 recording" in done.stdout
    table, values = read(out)
    assert set(table["path"].to_pylist()) == {"-"}
    np.testing.assert_array_equal(values, by_hand(model, 4)[1])


def test_embed_stores_in_a_pack_and_back(
    model: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = sum(len(by_hand(model, n)[0]) for n in range(6))
    ending = f"{windows} windows of 6 clips, 4 values each\n"
    assert run(capsys, "embed", packed, "--model", model)[:2] == (0, f"{packed}: tiny: {ending}")
    out = tmp_path / "x.parquet"
    assert run(capsys, "embed", packed, "--model", model, "--out", out)[:2] == (0, f"{out}: {ending}")
    done = run(capsys, "embed", packed, "--from", out, "--name", "back")
    assert done == (0, f"{packed}: back: {ending}", "")
    opened = Pack(packed)
    np.testing.assert_array_equal(opened.embeddings("back").values, opened.embeddings("tiny").values)
    status, _, told = run(capsys, "embed", packed, "--model", model)
    assert status == 1 and "'tiny' is there already" in told
    assert run(capsys, "embed", packed, "--model", model, "--replace")[0] == 0


def test_options_that_do_not_go_together_are_wrong_usage(
    model: Path, folder: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        ([folder], "name the Parquet file to write"),
        ([folder, "--out", "x.parquet", "--name", "n"], "needs one path, a pack"),
        ([folder, packed, "--from", "x.parquet"], "needs one path, a pack"),
        ([packed, "--start", "1"], "is for recordings"),
        ([packed, "--from", "x.parquet"], "say how the set is to be called"),
        ([packed, "--from", "x.parquet", "--name", "n", "--model", "m"], "does not go with --from"),
        ([packed, "--out", "x.parquet", "--name", "n"], "does not go with --out"),
        ([folder, "--out", "x.parquet", "--start", "2", "--end", "1"], "is not after --start"),
        ([path_of(folder, 0), "--out", path_of(folder, 0)], "is one of the recordings"),
        ([folder, "--out", "x.csv"], "x.csv: the name must end in .parquet"),
        ([packed, "--out", "x.csv"], "x.csv: the name must end in .parquet"),
        ([packed, "--name", "n", "--precision", "float32"], "a pack's sets are float16"),
    ):
        status, _, told = run(capsys, "embed", *arguments)
        assert status == 2 and message in told, arguments


def test_a_link_to_nowhere_stops_no_second_run(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, rng.uniform(-0.5, 0.5, RATE), RATE)
    (tmp_path / "c.wav").symlink_to(tmp_path / "nowhere.wav")
    for arguments in (("embed", "--out", tmp_path / "x.parquet"), ("tag", "--out", tmp_path / "x.csv")):
        written = []
        for _ in range(2):
            status, _, told = run(capsys, arguments[0], tmp_path, "--model", model, "--quiet", *arguments[1:])
            assert status == 1 and "c.wav" in told, told
            written.append(arguments[2].stat().st_mtime_ns)
        assert written[0] != written[1]
        arguments[2].unlink()


def test_import_makes_a_model_that_embeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    import tiny_tflite

    file, labels = tmp_path / "tiny.tflite", tmp_path / "labels.txt"
    file.write_bytes(tiny_tflite.content())
    labels.write_text("\n".join(tiny_tflite.LABELS))
    arguments = ["--rate", tiny_tflite.RATE, "--labels", labels, "--embedding", "layer1/mean"]
    out = tmp_path / "model"
    status, said, told = run(capsys, "import", "tflite", file, *arguments, "--hop", 300, "--out", out)
    assert (status, said) == (0, f"{out}\n")
    assert "tiny.tflite: 8000 Hz (given), windows of 400 samples each 300, 3 labels (given), scores" in told
    described = json.loads((out / "model.json").read_text())
    assert (described["hop"], described["embedding_size"]) == (300, tiny_tflite.SIZE)
    assert run(capsys, "check", out)[0] == 0
    soundfile.write(tmp_path / "a.wav", sound(4), tiny_tflite.RATE)
    status, said, _ = run(
        capsys, "embed", tmp_path / "a.wav", "--model", out, "--out", tmp_path / "x.parquet"
    )
    assert status == 0 and "40 windows of 1 recording\n" in said
    status, _, told = run(capsys, "import", "tflite", file, *arguments, "--out", out)
    assert status == 1 and "holds a model; --replace overwrites it" in told
    assert json.loads((out / "model.json").read_text()) == described
    assert run(capsys, "import", "tflite", file, *arguments, "--replace", "--out", out)[0] == 0
    assert json.loads((out / "model.json").read_text())["hop"] != described["hop"]
    status, _, told = run(capsys, "import", "tflite", labels, "--rate", 8000, "--out", tmp_path / "no")
    assert status == 1 and "but a text; it begins with 'dog rain clock'" in told
