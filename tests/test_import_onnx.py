"""Published graphs, ONNX and TFLite, in the layouts that published taggers have, become models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
import tiny_onnx
from onnx import TensorProto
from running import run
from tiny_onnx import LABELS, RATE, WINDOW

from auricle.artifact import Artifact, load_artifact
from auricle.interop.given import labels_for
from auricle.interop.onnx_import import import_onnx
from auricle.interop.tflite_metadata import read_metadata
from auricle.runners import check, load_runner
from auricle.runners.windows import sigmoid
from auricle.tagging import Tagger


def waves(count: int, window: int = WINDOW, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (count, window)).astype(np.float32)


def imported(folder: Path, *, name: str = "m", graph: dict[str, Any] | None = None, **given: Any) -> Artifact:
    file = folder / "tiny.onnx"
    file.write_bytes(tiny_onnx.content(**(graph or {})))
    needed: dict[str, Any] = {"rate": RATE, "labels": LABELS, "scores": False}
    if WINDOW not in (graph or {}).get("shape", ()):
        needed["window"] = WINDOW
    return import_onnx(file, folder / name, **(needed | given))


def scores_by_hand(file: Path, name: str, taken: str, waveforms: np.ndarray) -> np.ndarray:
    """What onnxruntime gives of the file itself, one window after the other."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([name], {taken: window[None]})[0] for window in waveforms])


@pytest.mark.parametrize(
    ("shape", "batch"),
    [
        (("batch", "samples"), 0), (("n", WINDOW), 0), ((1, WINDOW), 1), ((4, WINDOW), 4),
        (("b", 1, "t"), 0), ((1, 1, WINDOW), 1), ((WINDOW,), 1), (("t",), 1),
    ],
)  # fmt: skip
def test_every_way_to_take_a_waveform_gives_what_its_matrices_give(
    tmp_path: Path, shape: tuple[int | str, ...], batch: int
) -> None:
    saved = imported(tmp_path, graph={"shape": shape}, embedding="hidden")
    assert (saved.backend, saved.window, saved.hop, saved.rate) == ("onnx", WINDOW, WINDOW, RATE)
    assert saved.architecture == {"name": "onnx"} | ({"batch": batch} if batch else {})
    expected = tiny_onnx.by_hand(waves(7))
    for threads, size in ((1, 3), (2, 16)):
        runner = load_runner(load_artifact(saved.path), threads=threads, batch=size)
        logits, embeddings = runner.run(waves(7))
        np.testing.assert_allclose(logits, expected[0], atol=1e-4)
        np.testing.assert_allclose(embeddings, expected[1], atol=1e-4)
        assert runner.run(waves(0))[0].shape == (0, 3)
    assert check(runner)["ok"] and saved.changed_parts() == []


def test_a_graph_of_one_window_runs_side_by_side_and_a_window_scores_the_same_anywhere(
    tmp_path: Path,
) -> None:
    runner = load_runner(imported(tmp_path, graph={"shape": (1, WINDOW)}), threads=3)
    assert len(runner._sessions) == 3
    alone = runner.run(waves(1, seed=9))[0][0]
    for place in range(5):
        others = waves(5, seed=place)
        others[place] = waves(1, seed=9)[0]
        np.testing.assert_array_equal(runner.run(others)[0][place], alone)


def test_a_batch_that_is_free_by_name_only_is_found_out(tmp_path: Path) -> None:
    saved = imported(tmp_path, graph={"loses_batch": True})
    assert saved.architecture["batch"] == 1
    logits = load_runner(saved, threads=2).run(waves(4))[0]
    expected = scores_by_hand(tmp_path / "tiny.onnx", "output", "input", waves(4))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("operator", ["Sigmoid", "HardSigmoid"])
def test_scores_become_logits(tmp_path: Path, operator: str) -> None:
    saved = imported(tmp_path, graph={"scores": operator}, scores=True)
    logits = load_runner(saved, threads=1).run(waves(6))[0]
    expected = scores_by_hand(tmp_path / "tiny.onnx", "output", "input", waves(6))
    np.testing.assert_allclose(sigmoid(logits), expected, atol=2e-6)
    if operator == "Sigmoid":  # its own input, so that scores near 1 are told apart
        np.testing.assert_allclose(logits, tiny_onnx.by_hand(waves(6))[0], atol=1e-4)
    assert np.abs(logits).max() < 14 or operator == "Sigmoid"
    with pytest.raises(ValueError, match=r"which are scores: leave --outputs logits out"):
        imported(tmp_path, name="n", graph={"scores": operator}, scores=False)
    with pytest.raises(ValueError, match=r"which are no scores: declare them logits \(--outputs logits\)"):
        imported(tmp_path, name="n", scores=True)
    assert not (tmp_path / "n").exists()


def test_names_that_are_ours_are_no_trouble(tmp_path: Path) -> None:
    names = ("logits", "waveform", "embedding")
    saved = imported(
        tmp_path, graph={"names": names, "more": True, "embedding_out": True}, embedding="embedding"
    )
    logits, embeddings = load_runner(saved, threads=1).run(waves(3))
    expected = tiny_onnx.by_hand(waves(3))
    np.testing.assert_allclose(logits, expected[0], atol=1e-4)
    np.testing.assert_allclose(embeddings, expected[1], atol=1e-4)


def test_of_several_outputs_the_one_of_the_labels_is_taken_or_asked_for(tmp_path: Path) -> None:
    graph = {"more": True, "embedding_out": True, "classes": 8}
    eight = [f"sound {number}" for number in range(8)]
    with pytest.raises(
        ValueError, match=r"--output: spatial_embedding \(512 .*hidden \(8 .*output \(8 values\)"
    ):
        imported(tmp_path, graph=graph, labels=eight)
    for wanted in ("output", "2", 2):
        saved = imported(tmp_path, name=str(wanted), graph=graph, labels=eight, output=wanted)
        logits = load_runner(saved, threads=1).run(waves(2))[0]
        np.testing.assert_allclose(logits, tiny_onnx.by_hand(waves(2), classes=8)[0], atol=1e-4)
    assert imported(tmp_path, name="x", graph=graph | {"classes": 3}).num_classes == 3
    numbered = {"names": ("1", "547", "0"), "embedding_out": True}  # as torch's exporter names values
    for wanted in ("547", "1"):
        assert imported(tmp_path, name=wanted, graph=numbered, output=wanted).num_classes == 3
    with pytest.raises(ValueError, match="8 outputs, but 3 labels"):
        imported(tmp_path, name="y", graph=numbered, output="0")
    with pytest.raises(ValueError, match=r"outputs 0 to 1, which are 0 \(8 values\), 547 \(3 values\)"):
        imported(tmp_path, name="y", graph=numbered, output="548")


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_floats_are_taken(tmp_path: Path, kind: int) -> None:
    saved = imported(tmp_path, graph={"kind": kind, "opset": 13})
    expected = tiny_onnx.by_hand(waves(3).astype(np.float16 if kind == TensorProto.FLOAT16 else np.float64))
    np.testing.assert_allclose(load_runner(saved, threads=1).run(waves(3))[0], expected[0], atol=1e-3)


@pytest.mark.parametrize(
    "labels",
    [json.dumps(["dog ", "rain", " clock"]), "{0: 'dog', 1: 'rain', 2: 'clock'}", "dog\nrain\nclock\n"],
)
def test_what_the_file_says_need_not_be_given(tmp_path: Path, labels: str) -> None:
    said = {"Sample-Rate": "8000", "labels": labels, "window_samples": "400"}
    saved = imported(
        tmp_path, graph={"metadata": said, "shape": ("b", "t")}, rate=None, labels=None, window=None
    )
    assert (saved.rate, saved.labels, saved.window) == (8000, tuple(LABELS), 400)
    assert imported(tmp_path, name="same", graph={"metadata": said}, rate=8000).rate == 8000
    loose = {"rate": "50"} | {"labels": labels}
    assert imported(tmp_path, name="loose", graph={"metadata": loose}, rate=16000).rate == 16000, (
        "another rate may be meant, of frames or of learning"
    )


def test_what_it_does_not_say_is_asked_for_in_one_line(tmp_path: Path) -> None:
    for given, message in (
        ({"rate": None}, "carries no rate; give one with --rate"),
        (
            {"rate": None, "labels": None, "window": None},
            "carries no rate and no list of labels and no length of a window; give them with --rate and "
            "--labels and --window",
        ),
        ({"labels": ["dog"]}, "3 outputs, but 1 labels; give the list made for it"),
        ({"output": "other"}, r"has no output 'other'; there are output \(3 values\)"),
        ({"output": 1}, "output 1: the graph has outputs 0 to 0"),
        ({"embedding": "nothing"}, "no tensor is called 'nothing'"),
        ({"hop": 401}, "hop is 401 samples, more than a window of 400: what is between would not be heard"),
        (
            {"graph": {"classes": 6}},
            "6 outputs, but 3 labels; give the list made for it; 6 are 2 rows of 3: .* wants a --window that",
        ),
        (
            {"graph": {"classes": 6, "more": True}},
            r"which output is for the 3 labels\? .*output \(6 values\); 6 are 2 rows of 3: a graph that",
        ),
        ({"window": 300}, "cannot be run on a window of 300 samples"),
        ({"graph": {"shape": ("b", 400)}, "window": 300}, "takes windows of 400 samples, not 300"),
        ({"graph": {"shape": (2, 2, 400)}}, r"shape \(2, 2, 400\); expected a waveform"),
        ({"graph": {"shape": ("b", "c", 400, 1)}}, r"shape \(\?, \?, 400, 1\); expected a waveform"),
        ({"graph": {"kind": TensorProto.INT16}}, "is of INT16; expected floats"),
        ({"graph": {"metadata": {"auricle": "{}"}}}, "auricle exported it, so it is a model as it is"),
        (
            {"graph": {"metadata": {"sample_rate": "16000"}}, "rate": 44100},
            "its metadata say 16000 samples a second, not 44100; leave --rate out",
        ),
        (
            {"graph": {"metadata": {"labels": '["a", "b", "a"]'}}, "labels": None},
            "'a' is there for output 0 and for output 2; every output needs a name of its own",
        ),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            imported(tmp_path, **given)
        assert "\n" not in str(caught.value) and str(tmp_path / "tiny.onnx") in str(caught.value)
    for content in (b"\0", tiny_onnx.content()[:300]):
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.onnx: not an ONNX model"):
            import_onnx(tmp_path / "x.onnx", tmp_path / "n", rate=RATE, labels=LABELS)
    assert not (tmp_path / "n").exists() and not (tmp_path / "m").exists()


def test_a_description_that_says_nonsense_of_the_batch_is_refused(tmp_path: Path) -> None:
    saved = imported(tmp_path, graph={"shape": (1, WINDOW)})
    text = (saved.path / "model.json").read_text()
    (saved.path / "model.json").write_text(text.replace('"batch": 1', '"batch": "one"'))
    with pytest.raises(
        ValueError, match=r"field 'architecture.batch': expected a number of windows, got 'one'"
    ):
        load_runner(load_artifact(saved.path))


def test_the_peak_is_brought_to_a_level_window_by_window(tmp_path: Path) -> None:
    saved = imported(tmp_path, peak=0.25)
    sounds = np.concatenate([0.1 + 0.01 * waves(3), np.zeros((1, WINDOW), np.float32)])
    centred = sounds.astype(np.float64) - sounds.astype(np.float64).mean(axis=1, keepdims=True)
    centred[:3] *= 0.25 / np.abs(centred[:3]).max(axis=1, keepdims=True)
    logits = load_runner(saved, threads=1).run(sounds)[0]
    np.testing.assert_allclose(logits, tiny_onnx.by_hand(centred)[0], atol=1e-3)


def test_the_verb_imports_and_the_model_tags_and_is_exported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.onnx").write_bytes(tiny_onnx.content((1, WINDOW)))
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    common = ["--out", tmp_path / "m", "--outputs", "logits", "--hop", "200"]
    status, _, said = run(capsys, "import", "onnx", tmp_path / "a.onnx", *common)
    assert status == 1 and said.endswith("give them with --rate and --labels\n")
    common += ["--labels", tmp_path / "labels.txt", "--rate", RATE, "--embedding", "hidden"]
    status, printed, said = run(capsys, "import", "onnx", tmp_path / "a.onnx", *common)
    assert (status, printed) == (0, f"{tmp_path / 'm'}\n")
    told = f"a.onnx: {RATE} Hz (given), windows of {WINDOW} samples each 200, {len(LABELS)} labels (given), "
    assert f"{told}logits" in said
    assert run(capsys, "check", tmp_path / "m")[0] == 0
    sound = waves(1)[0]
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    tags = Tagger(tmp_path / "m").tag(tmp_path / "a.wav", top=None)["tags"]
    expected = sigmoid(tiny_onnx.by_hand(sound[None])[0][0])
    assert {tag["label"]: tag["score"] for tag in tags} == pytest.approx(
        dict(zip(LABELS, expected, strict=True)), abs=1e-4
    )


# The layouts of published taggers.


def test_perch_2_in_onnx(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "perch_v2.onnx").write_bytes(tiny_onnx.perch())
    names = [f"Genus species{number}" for number in range(14795)]
    (tmp_path / "labels.csv").write_text("\n".join(["inat2024_fsd50k", *names]) + "\n")
    status, printed, said = run(
        capsys, "import", "onnx", tmp_path / "perch_v2.onnx", "--rate", 32000, "--labels",
        tmp_path / "labels.csv", "--outputs", "logits", "--embedding", "embedding", "--peak", 0.25,
        "--licence", "Apache-2.0", "--out", tmp_path / "perch",
    )  # fmt: skip
    assert status == 0, said
    saved = load_artifact(printed.strip())
    assert (saved.window, saved.rate, saved.hop) == (160000, 32000, 160000)
    assert (saved.num_classes, saved.embedding_size, saved.architecture) == (14795, 1536, {"name": "onnx"})
    assert saved.labels[0] == names[0], "the head of the column is no label"
    sounds = waves(2, 160000)
    centred = sounds - sounds.mean(axis=1, keepdims=True)
    centred *= 0.25 / np.abs(centred).max(axis=1, keepdims=True)
    logits, embeddings = load_runner(saved, batch=2).run(sounds)
    file = tmp_path / "perch_v2.onnx"
    np.testing.assert_allclose(logits, scores_by_hand(file, "label", "inputs", centred), atol=1e-3)
    np.testing.assert_allclose(embeddings, scores_by_hand(file, "embedding", "inputs", centred), atol=1e-3)


def test_perch_2_in_tflite(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    import published_tflite

    tensors = [("StatefulPartitionedCall:0", 1536), ("StatefulPartitionedCall:1", 14795)]
    content = published_tflite.content(160000, tensors, outputs=[0, 1])
    (tmp_path / "perch_v2.tflite").write_bytes(content)
    names = [f"Genus species{number}" for number in range(14795)]
    (tmp_path / "labels.csv").write_text("\n".join(["inat2024_fsd50k", *names]) + "\n")
    status, printed, said = run(
        capsys, "import", "tflite", tmp_path / "perch_v2.tflite", "--rate", 32000, "--labels",
        tmp_path / "labels.csv", "--outputs", "logits", "--embedding", "StatefulPartitionedCall:0",
        "--peak", 0.25, "--out", tmp_path / "perch",
    )  # fmt: skip
    assert status == 0, said
    saved = load_artifact(printed.strip())
    assert (saved.window, saved.num_classes, saved.embedding_size) == (160000, 14795, 1536)
    sounds = waves(2, 160000)
    centred = sounds - sounds.mean(axis=1, keepdims=True)
    centred *= 0.25 / np.abs(centred).max(axis=1, keepdims=True)
    logits, embeddings = load_runner(saved, threads=2).run(sounds)
    expected = published_tflite.by_hand(centred, [1536, 14795])
    np.testing.assert_allclose(embeddings, expected[0], atol=1e-3)
    np.testing.assert_allclose(logits, expected[1], atol=1e-3)


def test_birdnet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    import published_tflite

    tensors = [("model/GLOBAL_AVG_POOL/Mean", 1024), ("Identity", 6522)]
    file = tmp_path / "BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"
    file.write_bytes(published_tflite.content(144000, tensors, outputs=[1]))
    names = [f"Genus species{number}_Common name {number}" for number in range(6522)]
    (tmp_path / "Labels.txt").write_text("\n".join(names) + "\n")
    given = [
        "--rate", 48000, "--labels", tmp_path / "Labels.txt", "--embedding", "GLOBAL_AVG_POOL/Mean",
        "--out", tmp_path / "birdnet",
    ]  # fmt: skip
    status, _, said = run(capsys, "import", "tflite", file, *given)
    assert status == 1 and "declare them logits (--outputs logits)" in said
    status, printed, said = run(capsys, "import", "tflite", file, *given, "--outputs", "logits")
    assert status == 0, said
    saved = load_artifact(printed.strip())
    assert (saved.window, saved.rate, saved.embedding_size) == (144000, 48000, 1024)
    assert saved.labels[7] == "Genus species7_Common name 7"
    logits, embeddings = load_runner(saved, threads=2).run(waves(3, 144000))
    expected = published_tflite.by_hand(waves(3, 144000), [1024, 6522])
    np.testing.assert_allclose(embeddings, expected[0], atol=1e-3)
    np.testing.assert_allclose(logits, expected[1], atol=1e-3)


def test_a_tflite_file_whose_batch_is_free_says_its_window(tmp_path: Path) -> None:
    """As converters write it where a network was traced with a batch of any size: signature (-1, samples)."""
    pytest.importorskip("ai_edge_litert")
    import published_tflite

    from auricle.interop.tflite import import_tflite

    def saved(name: str, signature: tuple[int, ...], **given: Any) -> Artifact:
        content = published_tflite.content(WINDOW, [("a", 3)], outputs=[0], signature=signature)
        (tmp_path / f"{name}.tflite").write_bytes(content)
        needed: dict[str, Any] = {"rate": RATE, "labels": LABELS, "scores": False}
        return import_tflite(tmp_path / f"{name}.tflite", tmp_path / name, **(needed | given))

    model = saved("batch", (-1, WINDOW))
    logits, _ = load_runner(model, threads=2).run(waves(5))
    np.testing.assert_allclose(logits, published_tflite.by_hand(waves(5), [3])[0], atol=1e-3)
    with pytest.raises(ValueError, match="takes windows of any length; say which, in samples, with --window"):
        saved("length", (1, -1))
    assert model.window == saved("length", (1, -1), window=WINDOW).window == WINDOW


def test_a_tflite_file_says_its_rate_its_outputs_and_its_labels(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    import published_tflite

    from auricle.interop.tflite import import_tflite

    tensors = [("a", 8), ("b", 3)]
    content = published_tflite.content(WINDOW, tensors, outputs=[0, 1], rate=22050, labels=LABELS)
    said = read_metadata(content)
    assert (said.rate, said.outputs, said.labels) == (22050, ("said 0", "said 1"), ((), tuple(LABELS)))
    (tmp_path / "a.tflite").write_bytes(content)
    for number, wanted in enumerate(("", "b", "said 1", 1)):
        saved = import_tflite(tmp_path / "a.tflite", tmp_path / str(number), scores=False, output=wanted)
        assert (saved.rate, saved.labels, saved.architecture["output"]) == (22050, tuple(LABELS), 1)
    with pytest.raises(
        ValueError, match=r"a\.tflite: its metadata say 22050 samples a second, not 16000; leave"
    ):
        import_tflite(tmp_path / "a.tflite", tmp_path / "o", scores=False, rate=16000)
    assert import_tflite(tmp_path / "a.tflite", tmp_path / "o", scores=False, rate=22050).rate == 22050
    for end in range(0, len(content), 977):
        assert read_metadata(content[:end]).rate in (0, 22050), "damaged, it says nothing"
    with pytest.raises(
        ValueError, match=r"a\.tflite: has no output 'c'; there are a \(8 values\), b \(3 values\)"
    ):
        import_tflite(tmp_path / "a.tflite", tmp_path / "n", scores=False, output="c")
    with pytest.raises(ValueError, match="carries no rate and no list of labels; give them with --rate and"):
        (tmp_path / "b.tflite").write_bytes(published_tflite.content(WINDOW, tensors, outputs=[1]))
        import_tflite(tmp_path / "b.tflite", tmp_path / "n", scores=False)


def test_yamnets_own_metadata_are_read(shared_data: Path) -> None:
    said = read_metadata((shared_data / "yamnet" / "yamnet-int8.tflite").read_bytes())
    assert (said.rate, said.outputs) == (16000, ("scores",))
    assert len(said.labels[0]) == 521 and said.labels[0][0] == "Speech"


def test_a_head_is_left_out_only_where_that_makes_the_number_right(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ioc_world\ndog\nrain\n")
    assert labels_for(tmp_path / "a.csv", [2]) == ["dog", "rain"]
    assert labels_for(tmp_path / "a.csv", [3, 2]) == ["ioc_world", "dog", "rain"]
    (tmp_path / "a.txt").write_text("dog\nrain\nclock\n")
    assert labels_for(tmp_path / "a.txt", [2]) == LABELS, "a plain list has no head"
    (tmp_path / "b.csv").write_text("label\ndog\nrain\nclock\n")
    assert labels_for(tmp_path / "b.csv", [2]) == LABELS
