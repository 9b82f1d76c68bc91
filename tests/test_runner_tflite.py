"""TFLite graphs as models: what an interpreter called by hand gives, on every core, with their embedding."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("ai_edge_litert")
import tiny_tflite
from tiny_tflite import EMBEDDING, LABELS, RATE, WINDOW

from auricle.artifact import Artifact, embedding_input, load_artifact
from auricle.interop.tflite import check_waveforms, import_tflite, read_labels
from auricle.runners import check, load_runner
from auricle.runners import tflite as module
from auricle.tagging import Tagger


def waves(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (count, WINDOW)).astype(np.float32)


def imported(
    folder: Path, *, name: str = "m", graph: dict[str, Any] | None = None, **fields: Any
) -> Artifact:
    file = folder / "tiny.tflite"
    file.write_bytes(tiny_tflite.content(**(graph or {})))
    given: dict[str, Any] = {"rate": RATE, "labels": LABELS, "embedding": EMBEDDING}
    return import_tflite(file, folder / name, **(given | fields))


def interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
        made.allocate_tensors()
    return made


def called_by_hand(content: bytes, window: np.ndarray, embedding: str) -> tuple[np.ndarray, np.ndarray]:
    """Output and embedding as the library gives them, every tensor kept."""
    made = interpreter(content)
    made.set_tensor(made.get_input_details()[0]["index"], window)
    made.invoke()
    (index,) = [d["index"] for d in made.get_tensor_details() if d["name"].endswith(embedding)]
    return made.get_tensor(made.get_output_details()[0]["index"]), made.get_tensor(index)


def test_a_graph_of_floats_gives_what_its_matrices_give(tmp_path: Path) -> None:
    saved = imported(tmp_path)
    assert (saved.backend, saved.window, saved.hop, saved.rate) == ("tflite", WINDOW, WINDOW, RATE)
    assert (saved.labels, saved.embedding_size) == (tuple(LABELS), tiny_tflite.SIZE)
    assert (saved.path / "model.tflite").read_bytes() == tiny_tflite.content(), "the file is kept as it is"
    runner = load_runner(load_artifact(saved.path), threads=2)
    logits, embeddings = runner.run(waves(9))
    expected = tiny_tflite.by_hand(waves(9))
    np.testing.assert_allclose(embeddings, expected[1], atol=1e-4)
    np.testing.assert_allclose(logits, expected[0], atol=1e-3)
    assert len(np.unique(logits[:, 0])) == 9
    assert check(runner)["ok"] and saved.changed_parts() == []


def test_integers_are_scaled_as_the_file_says(tmp_path: Path) -> None:
    saved = imported(tmp_path, graph={"integer": True})
    runner = load_runner(saved, threads=1)
    logits, embeddings = runner.run(waves(5))
    for row, window in enumerate(waves(5)):
        scale, zero = tiny_tflite.INPUT
        whole = np.clip(np.round(window / np.float32(scale)) + zero, -128, 127).astype(np.int8)[None]
        output, hidden = called_by_hand(tiny_tflite.content(integer=True), whole, EMBEDDING)
        assert output.dtype == hidden.dtype == np.int8
        np.testing.assert_allclose(
            embeddings[row], (hidden[0] - np.float32(-128)) * np.float32(0.05), atol=1e-6
        )
        score = np.clip((output[0].astype(np.float64) + 128) / 256, 1e-6, 1 - 1e-6)
        np.testing.assert_allclose(logits[row], np.log(score / (1 - score)), atol=1e-4)
    _, expected = tiny_tflite.by_hand(waves(5))
    np.testing.assert_allclose(embeddings, expected, atol=0.15)
    assert check(runner)["ok"]


def test_outputs_may_be_logits(tmp_path: Path) -> None:
    saved = imported(tmp_path, graph={"logits": True}, scores=False)
    np.testing.assert_allclose(
        load_runner(saved, threads=1).run(waves(3))[0], tiny_tflite.by_hand(waves(3))[0], atol=1e-3
    )
    with pytest.raises(ValueError, match="which are no scores: declare them logits"):
        imported(tmp_path, name="n", graph={"logits": True})
    assert not (tmp_path / "n").exists()


def test_without_an_embedding_the_logits_stand_in(tmp_path: Path) -> None:
    saved = imported(tmp_path, embedding="")
    logits, embeddings = load_runner(saved, threads=1).run(waves(3))
    assert saved.embedding_size == 3
    np.testing.assert_array_equal(logits, embeddings)


def test_a_window_scores_the_same_beside_any_neighbours_and_by_any_number_of_threads(tmp_path: Path) -> None:
    saved = imported(tmp_path)
    one = waves(1, seed=9)
    logits, embeddings = load_runner(saved, threads=1).run(one)
    for threads in (1, 2, 5):
        runner = load_runner(saved, threads=threads, batch=4)
        for place in range(7):
            others = waves(7, seed=place)
            others[place] = one
            found, embedded = runner.run(others)
            np.testing.assert_array_equal(found[place], logits[0])
            np.testing.assert_array_equal(embedded[place], embeddings[0])
    assert runner.run(np.zeros((0, WINDOW), np.float32))[0].shape == (0, 3)


def test_the_embedding_is_the_same_where_every_tensor_must_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = imported(tmp_path)
    expected = load_runner(saved, threads=1).run(waves(3))

    def missing(*_: Any) -> None:
        raise ModuleNotFoundError("no flatbuffers", name="flatbuffers")

    monkeypatch.setattr(module, "with_output", missing)
    for ours, theirs in zip(load_runner(saved, threads=1).run(waves(3)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_graph_of_any_length_takes_the_window_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="takes windows of any length; say which"):
        imported(tmp_path, graph={"free_length": True})
    with pytest.raises(ValueError, match=r"cannot be run on a window of 47001 samples; it takes another$"):
        imported(tmp_path, graph={"free_length": True}, window=47001)
    saved = imported(tmp_path, graph={"free_length": True}, window=WINDOW)
    expected = tiny_tflite.by_hand(waves(3))[0]
    np.testing.assert_allclose(load_runner(saved, threads=1).run(waves(3))[0], expected, atol=1e-3)


def test_it_tags_and_embeds_for_others_like_any_model(tmp_path: Path) -> None:
    saved = imported(tmp_path, hop=WINDOW // 2)
    sound = waves(1)[0]
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    tags = Tagger(saved.path, threads=2).tag(tmp_path / "a.wav", top=None)["tags"]
    expected = 1 / (1 + np.exp(-tiny_tflite.by_hand(sound[None])[0][0]))
    assert {tag["label"]: tag["score"] for tag in tags} == pytest.approx(
        dict(zip(LABELS, expected, strict=True)), abs=1e-3
    )
    assert embedding_input(saved, 2)["size"] == tiny_tflite.SIZE


def test_what_is_no_such_graph_is_refused_in_words(tmp_path: Path) -> None:
    for fields, message in (
        ({"labels": ["dog"]}, "3 outputs, but 1 labels; give the list made for it"),
        ({"embedding": "layer9/mean"}, "no tensor is called 'layer9/mean'; .*tower/layer1/mean"),
        ({"output": 1}, "output 1: the graph has outputs 0 to 0"),
        ({"hop": 401}, r"tiny\.tflite: hop is 401 samples, more than a window of 400"),
        ({"labels": ["dog"]}, "; 3 are 3 rows of 1: a graph that gives a row for each part of its window"),
        ({"window": 500}, "takes windows of 400 samples, not 500"),
        ({"labels": None}, "carries no list of labels; give one with --labels"),
    ):
        with pytest.raises(ValueError, match=message):
            imported(tmp_path, **fields)
    for content in (b"\0", b"RIFF\0\0\0\0WAVE", tiny_tflite.content()[:700]):
        (tmp_path / "x.tflite").write_bytes(content)
        for embedding in ("", EMBEDDING):
            with pytest.raises(ValueError, match=r"x\.tflite: (no TFLite|damaged)"):
                import_tflite(
                    tmp_path / "x.tflite", tmp_path / "n", rate=RATE, labels=LABELS, embedding=embedding
                )
    assert not (tmp_path / "n").exists()


def test_a_graph_of_another_description_is_refused(tmp_path: Path) -> None:
    saved = imported(tmp_path)
    text = (saved.path / "model.json").read_text()
    for before, after, message in (
        (
            f'"embedding_size": {tiny_tflite.SIZE}',
            '"embedding_size": 9',
            "8 values for field 'embedding_size'",
        ),
        (f'"window": {WINDOW}', '"window": 300', "400 values for field 'window'"),
        ('"scores": true', '"scores": "yes"', "'architecture.scores': expected bool, got 'yes'"),
    ):
        assert before in text
        (saved.path / "model.json").write_text(text.replace(before, after))
        with pytest.raises(ValueError, match=message):
            load_runner(load_artifact(saved.path), threads=1)
    (saved.path / "model.json").write_text(text)
    with pytest.raises(ValueError, match="runs on the CPU here"):
        load_runner(load_artifact(saved.path), device="cuda")
    with pytest.raises(ValueError, match=r"expected waveforms \(B, 400\), got \(1, 5\)"):
        load_runner(load_artifact(saved.path), threads=1).run(np.zeros((1, 5), np.float32))


def test_nothing_is_said_on_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runner = load_runner(imported(tmp_path), threads=2)
    runner.run(waves(2))
    assert capfd.readouterr() == ("", "")


def test_labels_are_read_from_lists_and_tables(tmp_path: Path) -> None:
    files = {
        "a.txt": "dog\nrain, heavy\n\nclock\n",
        "b.csv": 'index,mid,display_name\n0,/m/1,dog\n1,/m/2,"rain, heavy"\n2,/m/3,clock\n',
        "c.csv": "dog\n",
        "d.csv": "code,label\nx,dog\n",
        "e.csv": 'Index, Display_Name\n0, dog\n 1," rain, heavy "\n2,clock \n',
        "f.csv": 'dog\n"rain, heavy"\nclock\n',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert (
        read_labels(tmp_path / "a.txt") == read_labels(tmp_path / "b.csv") == ["dog", "rain, heavy", "clock"]
    )
    assert (
        read_labels(tmp_path / "e.csv") == read_labels(tmp_path / "f.csv") == ["dog", "rain, heavy", "clock"]
    )
    (tmp_path / "e.csv").write_text("index,display_name\n0,dog\n1, \n")
    with pytest.raises(ValueError, match="row 3 has no label"):
        read_labels(tmp_path / "e.csv")
    (tmp_path / "e.csv").write_text("index,display_name\n0,dog\n1,dog \n")
    with pytest.raises(ValueError, match="'dog' is there for output 0 and for output 1"):
        read_labels(tmp_path / "e.csv")
    assert read_labels(tmp_path / "c.csv") == read_labels(tmp_path / "d.csv") == ["dog"]
    (tmp_path / "b.csv").write_text("index,display_name\n1,dog\n0,rain\n")
    with pytest.raises(ValueError, match="row 2 has index '1'; expected 0"):
        read_labels(tmp_path / "b.csv")
    (tmp_path / "a.txt").write_text("dog\nrain\n\ndog\n")
    with pytest.raises(
        ValueError, match=r"a\.txt: 'dog' is there for output 0 and for output 2; every output"
    ):
        read_labels(tmp_path / "a.txt")
    (tmp_path / "d.csv").write_text("code,word\nx,dog\n")
    with pytest.raises(
        ValueError,
        match="expected a column display_name, label, name, category; got code, word; where these are a",
    ):
        read_labels(tmp_path / "d.csv")


def test_yamnet_agrees_with_the_interpreter_called_by_hand(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "yamnet"
    file = folder / "yamnet-int8.tflite"
    saved = import_tflite(
        file,
        tmp_path / "yamnet",
        rate=16000,
        labels=folder / "class_map.csv",
        embedding="layer28/reduce_mean",
        licence="Apache-2.0",
    )
    assert (saved.window, saved.num_classes, saved.embedding_size) == (15600, 521, 1024)
    assert read_labels(folder / "class_map.csv") == list(saved.labels)
    own = import_tflite(file, tmp_path / "own", rate=16000)
    assert (own.labels, own.licence) == (saved.labels, "Apache-2.0"), "of the file itself, and by its SHA-256"
    assert import_tflite(file, tmp_path / "own", rate=16000, licence="MIT").licence == "MIT"
    waveforms = check_waveforms(15600, 16000)
    logits, embeddings = load_runner(saved, threads=2).run(waveforms)
    made = interpreter(file.read_bytes())
    for row, waveform in enumerate(waveforms):
        made.set_tensor(0, waveform)
        made.invoke()
        scores = made.get_tensor(120)[0]
        np.testing.assert_array_equal(logits[row], module.logit(scores))
        hidden = made.get_tensor(115).reshape(-1).astype(np.float32)
        np.testing.assert_array_equal(embeddings[row], (hidden + 128) * np.float32(0.022328350692987442))
    assert saved.labels[int(logits[1].argmax())] in ("Sine wave", "Dial tone", "Beep, bleep", "Tuning fork")
