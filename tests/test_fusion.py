"""Models of two inputs: their own front end at one rate, an embedder at another, waveforms in."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import tiny_fusion
import tiny_model
import torch
from tiny_fusion import RATE, WINDOW, D, T, noise

from auricle.artifact import Artifact, embedding_input, load_artifact
from auricle.embedding import embed_pack
from auricle.engine.packing import pack as pack_source
from auricle.evaluation import evaluate
from auricle.features import log_mel
from auricle.interop.onnx import export_onnx
from auricle.interop.tflite import import_tflite
from auricle.runners import check, load_runner
from auricle.runners.fusion import EDGE, embed_resampled, stored_rows
from auricle.shards import Pack
from auricle.tagging import Tagger

LABELS = ("dog", "rain", "clock")


@pytest.fixture(autouse=True)
def tiny_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_fusion.register(monkeypatch)


@pytest.fixture
def embedder(tmp_path: Path) -> Path:
    return tiny_fusion.save_embedder(tmp_path / "embedder")


@pytest.fixture
def model(tmp_path: Path, embedder: Path) -> Artifact:
    return tiny_fusion.save(tmp_path / "model", LABELS, embedder=embedder)


def by_hand(model: Artifact, embedder: Path, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One window at a time, one matrix after the other."""
    weights, below = model.read_weights(), load_runner(load_artifact(embedder), threads=1)
    answers = []
    for waveform in waveforms:
        heard = soxr.resample(waveform, RATE, tiny_model.RATE, quality="HQ")
        cut = [heard[t * 2000 : t * 2000 + 2000] for t in range(T)]
        embedded = [below.run(window[None])[1][0] for window in cut]
        means = log_mel(waveform, tiny_fusion.CONFIG).mean(0)
        x = np.concatenate([means, *embedded])
        embedding = np.tanh(weights["first.weight"] @ x + weights["first.bias"])
        answers.append((weights["head.weight"] @ embedding + weights["head.bias"], embedding))
    logits, embeddings = zip(*answers, strict=True)
    return np.stack(logits), np.stack(embeddings)


def test_waveforms_of_the_higher_rate_in_and_answers_out(model: Artifact, embedder: Path) -> None:
    loaded = load_artifact(model.path)
    assert loaded == model
    assert (loaded.rate, loaded.window, loaded.embedder_windows) == (RATE, WINDOW, T)
    assert loaded.features == tiny_fusion.CONFIG and loaded.embedder is not None
    assert loaded.embedder.rate == tiny_model.RATE
    runner = load_runner(loaded, threads=1, batch=4)
    waveforms = noise(7)
    expected = by_hand(model, embedder, waveforms)
    for found, wanted in zip(runner.run(waveforms), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert found.std(0).min() > 1e-4, "the answer depends on what is heard"
    assert check(runner)["ok"]


def test_both_inputs_count(model: Artifact) -> None:
    runner = load_runner(model, threads=1)
    x = noise(1)
    late = x.copy()  # after the third window of the embedder: only the log-mel hears it
    late[:, round(0.8 * RATE) :] = 0
    embedded = embed_resampled(runner.embedder, np.concatenate([x, late]), RATE, T)
    np.testing.assert_array_equal(embedded[0], embedded[1])
    assert np.abs(runner.run(x)[0] - runner.run(late)[0]).max() > 1e-3
    logits, _ = runner.run_embedded(x, embedded[:1] + 1)
    assert np.abs(logits - runner.run(x)[0]).max() > 1e-3


def test_a_window_scores_the_same_beside_any_neighbours_and_at_any_place(model: Artifact) -> None:
    runner = load_runner(model, threads=1, batch=4)
    one = noise(1, seed=5)
    logits, embeddings = runner.run(one)
    for place in range(9):
        others = noise(9, seed=place)
        others[place] = one
        found = runner.run(others)
        np.testing.assert_array_equal(found[0][place], logits[0])
        np.testing.assert_array_equal(found[1][place], embeddings[0])


@pytest.mark.parametrize(
    ("seconds", "windows"),
    [(1.0, 3), (1.0, 4), (1.2, 4), (0.6, 3)],
    ids=["tail dropped", "to the last sample", "cut", "zeros after"],
)
def test_exactly_as_many_windows_as_asked(embedder: Path, seconds: float, windows: int) -> None:
    runner = load_runner(load_artifact(embedder), threads=1)
    waveforms = noise(2, round(seconds * RATE))
    found = embed_resampled(runner, waveforms, RATE, windows)
    assert found.shape == (2, windows, D)
    for row, waveform in zip(found, waveforms, strict=True):
        heard = np.append(soxr.resample(waveform, RATE, 8000, quality="HQ"), np.zeros(8000, np.float32))
        for t in range(windows):
            expected = runner.run(heard[None, 2000 * t : 2000 * (t + 1)])[1][0]
            np.testing.assert_array_equal(row[t], expected)


def test_no_waveforms_and_the_same_rate_are_embedded_too(embedder: Path) -> None:
    runner = load_runner(load_artifact(embedder), threads=1)
    assert embed_resampled(runner, np.zeros((0, 9), np.float32), RATE, T).shape == (0, T, D)
    x = noise(1, 2000)
    np.testing.assert_array_equal(embed_resampled(runner, x, 8000, 1)[0], runner.run(x)[1])
    with pytest.raises(ValueError, match="waveforms of 4000 Hz, but the embedder embedder needs 8000 Hz"):
        embed_resampled(runner, x, 4000, 1)
    with pytest.raises(ValueError, match=r"expected waveforms \(B, N\), got \(5,\)"):
        embed_resampled(runner, x[0, :5], 8000, 1)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Clips of a window, of less and of more, at the model's rate, in two classes."""
    seconds = {"dog": (1.0, 1.0, 0.8, 0.7), "rain": (1.0, 1.5, 0.9, 1.02)}
    for label, lengths in seconds.items():
        (tmp_path / "source" / label).mkdir(parents=True)
        for k, length in enumerate(lengths):
            sound = noise(1, round(length * RATE), seed=k + 10 * len(label))[0]
            soundfile.write(tmp_path / "source" / label / f"{k}.wav", sound, RATE)
    pack_source(tmp_path / "source", tmp_path / "pack", rate=RATE, jobs=1, quiet=True)
    return tmp_path / "pack"


@pytest.mark.parametrize("windows", [3, 4])
def test_what_is_stored_equals_what_is_made_on_the_fly(pack: Path, embedder: Path, windows: int) -> None:
    embed_pack(pack, embedder, name="e", threads=1, quiet=True)
    opened, runner = Pack(pack), load_runner(load_artifact(embedder), threads=1)
    stored = opened.embeddings("e")
    sizes = {"rate": RATE, "window": WINDOW, "windows": windows}
    rows = stored_rows(stored.indptr, stored.about, opened.lengths, **sizes)
    assert rows.shape == (8, windows)
    for clip, places in enumerate(rows):
        first = np.zeros(WINDOW, np.float32)
        heard = opened.samples(clip)[:WINDOW].astype(np.float32) / 32768
        first[: len(heard)] = heard
        made = embed_resampled(runner, first[None], RATE, windows)[0]
        seconds = opened.lengths[clip] / RATE
        # Whole windows lie in 0.75 s or 1 s; 1.02 s and 1.5 s go on where the fourth window ends.
        expected = seconds >= 0.25 * windows and (windows == 3 or seconds <= 1)
        assert (places >= 0).tolist() == [expected] * windows, seconds
        if expected:
            np.testing.assert_array_equal(stored.values[places], made.astype(np.float16))
            np.testing.assert_allclose(stored.values[places], made, rtol=2**-10, atol=1e-6)
    assert (rows[:, 0] >= 0).sum() in ((4, 7)[windows == 3], 3)


def test_what_comes_after_a_window_changes_no_sample_of_it_but_the_last() -> None:
    x = noise(1, 2 * 44100)[0]
    for rate in (44100, 48000, 32000, 22050):
        long, cut = (soxr.resample(part, rate, 16000, quality="HQ") for part in (x, x[:rate]))
        stop = 16000 - round(EDGE * 16000)
        np.testing.assert_array_equal(long[:stop], cut[:stop])
        assert (long[:16000] != cut).any()


def test_a_set_of_whole_clips_or_of_few_rows_is_not_taken() -> None:
    about = {"rate": 8000, "window": 2000, "hop": 2000, "pooling": "none"}
    sizes = {"rate": RATE, "window": WINDOW, "windows": 3}
    lengths = np.array([WINDOW, WINDOW])
    rows = stored_rows(np.array([0, 2, 6]), about, lengths, **sizes)  # a table that lacks rows of a clip
    assert rows.tolist() == [[-1] * 3, [2, 3, 4]]
    # With tail "align" a clip of 0.9 s has four rows, too, but the fourth begins at 0.65 s.
    short = np.array([round(0.9 * RATE)])
    for windows, expected in ((3, [0, 1, 2]), (4, [-1] * 4)):
        rows = stored_rows(np.array([0, 4]), about, short, **(sizes | {"windows": windows}))
        assert rows.tolist() == [expected]
    with pytest.raises(ValueError, match="holds one embedding a clip, the mean of its windows'"):
        stored_rows(np.array([0, 1]), about | {"pooling": "mean"}, lengths[:1], **sizes)


def test_it_tags_evaluates_and_embeds_like_any_other(model: Artifact, pack: Path, tmp_path: Path) -> None:
    result = Tagger(model.path, threads=1).tag(pack.parent / "source" / "rain" / "1.wav", windows=True)
    assert [row["end"] for row in result["windows"]] == [1.0, 1.5] and len(result["tags"]) == 3
    figures = evaluate(model.path, pack, threads=1, quiet=True, draws=0)
    assert figures["clips"] == 8 and figures["classes"] == 2
    about = embed_pack(pack, model.path, name="f", threads=1, quiet=True)
    assert (about["size"], about["clips"], about["rate"]) == (5, 8, RATE)
    opened = Pack(pack)
    first = opened.samples(0)[:WINDOW].astype(np.float32)[None] / 32768
    expected = load_runner(model, threads=1).run(first)[1][0]
    np.testing.assert_allclose(opened.embeddings("f").values[0], expected, rtol=2**-10, atol=1e-6)


def test_a_changed_embedder_is_named_and_another_refused(model: Artifact, tmp_path: Path) -> None:
    state = model.path / "embedder" / "model.onnx"
    content = state.read_bytes()
    state.unlink()  # it is a link to the embedder it was made from
    state.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    loaded = load_artifact(model.path)
    assert loaded.changed_parts() == ["embedder/model.onnx"]
    with pytest.raises(ValueError, match="is not the embedder that the model was trained with"):
        load_runner(loaded)


def described(model: Artifact, **changes: object) -> dict[str, object]:
    entry = dict(model.inputs[1])
    return {"inputs": [model.inputs[0], entry | changes]}


def edit(model: Artifact, **fields: object) -> None:
    path = model.path / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"windows": 5},
            "'inputs[1].windows': 5, but only 4 of the embedder begin within the model's window",
        ),
        ({"size": 7}, "'inputs[1].size': 7, but the embedder gives 4 values"),
        ({"rate": 44100}, "'inputs[1].rate': 44100 Hz, but the embedder takes 8000 Hz"),
        ({"fingerprint": "x"}, "'inputs[1].fingerprint': expected a SHA-256"),
    ],
)
def test_an_input_that_the_embedder_does_not_give_is_refused(
    model: Artifact, changes: dict[str, object], message: str
) -> None:
    edit(model, **described(model, **changes))
    with pytest.raises(ValueError) as caught:
        load_artifact(model.path)
    assert f"model.json: field {message}" in str(caught.value), str(caught.value)


def test_inputs_stand_in_one_order_and_run_on_torch(model: Artifact, embedder: Path, tmp_path: Path) -> None:
    logmel, embedding = model.inputs
    for inputs in ([embedding, logmel], [logmel, logmel], [logmel, embedding, embedding]):
        edit(model, inputs=inputs)
        with pytest.raises(
            ValueError, match="field 'inputs': expected one, or a logmel or waveform and then"
        ):
            load_artifact(model.path)
    edit(model, inputs=[logmel, embedding], backend="onnx")
    with pytest.raises(
        ValueError, match=r"field 'backend': 'onnx', but a net of two inputs .* runs on 'torch'"
    ):
        load_artifact(model.path)
    edit(model, inputs=[embedding], backend="torch", window=6000)
    with pytest.raises(ValueError, match="tiny_fusion takes 'logmel' and 'embedding', but field"):
        load_runner(load_artifact(model.path))
    slow = [{"kind": "waveform", "rate": 4000}, embedding]
    with pytest.raises(ValueError, match=r"'inputs\[0\].rate': 4000 Hz, but the embedder needs 8000 Hz"):
        tiny_fusion.save(tmp_path / "slow", LABELS, embedder=embedder, inputs=slow)
    with pytest.raises(ValueError, match="the model takes embeddings; give the `embedder`"):
        tiny_fusion.save(tmp_path / "n", LABELS, inputs=[logmel, embedding])


def test_the_fingerprint_follows_the_embedder(model: Artifact, tmp_path: Path) -> None:
    other = tiny_model.save(tmp_path / "other", hop=1000)
    second = tiny_fusion.save(tmp_path / "second", LABELS, embedder=other.path)
    assert second.fingerprint != model.fingerprint
    assert (
        "logmel at 22050 Hz and embedding at 8000 Hz, 3 x 4 values, by the model in the folder embedder"
        in (model.path / "README.md").read_text()
    )


def test_a_fusion_becomes_one_graph_with_its_resampler_and_embedder_inside(
    model: Artifact, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    exported = load_artifact(export_onnx(model.path, tmp_path / "x.onnx"))
    assert exported.inputs == [{"kind": "waveform", "rate": 22050}] and exported.embedder is None
    waveforms = tiny_fusion.noise(5, seed=3)
    ours, theirs = (load_runner(each, threads=1, batch=2).run(waveforms) for each in (exported, model))
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-4)
    assert check(load_runner(exported, threads=1))["ok"]


def test_the_published_fusion_runs_at_its_own_size(tmp_path: Path) -> None:
    """44.1 kHz and 10 s, narrow: all shapes as in the paper, but for the embedding's size."""
    from auricle import presets
    from auricle.artifact import save_artifact
    from auricle.models import MODELS, build

    if "urban_fusion" not in MODELS:
        pytest.skip("the model urban_fusion is not there")
    embedder = tiny_model.save(tmp_path / "e", window=15600, hop=15360, inputs=[
        {"kind": "waveform", "rate": 16000}
    ], check=tiny_check(15600))  # fmt: skip
    arguments = {"num_classes": 37, "width": 0.05, "input_shape": ((1, 862, 128), (10, 4))}
    net = build("urban_fusion", **arguments).eval()
    config = presets.librosa_defaults()
    entry = {"kind": "logmel", "rate": 44100, "features": config.as_dict()}
    waveforms = noise(1, 441000)
    path = tmp_path / "m"
    fields = {
        "weights": {key: value.numpy() for key, value in net.state_dict().items()},
        "architecture": {"name": "urban_fusion", "arguments": arguments},
        "inputs": [entry, embedding_input(embedder, 10)],
        "embedder": embedder.path,
        "labels": tuple(f"l{k}" for k in range(37)),
        "window": 441000,
        "hop": 441000,
        "embedding_size": net.embedding_size,
    }
    save_artifact(path, check=(waveforms, np.zeros((1, 37))), **fields)
    logits, embeddings = load_runner(load_artifact(path), threads=1, batch=1).run(waveforms)
    assert logits.shape == (1, 37) and embeddings.shape == (1, net.embedding_size)
    below = load_runner(embedder, threads=1)
    from auricle.frontend import LogMel

    with torch.inference_mode():
        logmel = LogMel(config)(torch.from_numpy(waveforms))
        assert logmel.shape == (1, 1, 862, 128)
        embedded = torch.from_numpy(embed_resampled(below, waveforms, 44100, 10))
        np.testing.assert_allclose(net((logmel, embedded)).numpy(), logits, atol=1e-5)


def tiny_check(window: int) -> tuple[np.ndarray, np.ndarray]:
    return noise(1, window), np.zeros((1, 3), np.float32)


def test_yamnets_embeddings_of_real_clips_at_44100_hz_need_not_be_made_again(
    tmp_path: Path, shared_data: Path
) -> None:
    pytest.importorskip("ai_edge_litert")
    names = sorted(path.name for path in (shared_data / "esc50" / "audio").glob("*"))[::250]
    (tmp_path / "source" / "any").mkdir(parents=True)
    for name in names:
        (tmp_path / "source" / "any" / name).symlink_to(shared_data / "esc50" / "audio" / name)
    import_tflite(
        shared_data / "yamnet" / "yamnet-int8.tflite",
        tmp_path / "yamnet",
        rate=16000,
        hop=15360,
        embedding="layer28/reduce_mean",
    )
    pack_source(tmp_path / "source", tmp_path / "pack", rate=44100, jobs=1, quiet=True)
    embed_pack(tmp_path / "pack", tmp_path / "yamnet", name="yamnet", threads=1, quiet=True)
    opened, runner = Pack(tmp_path / "pack"), load_runner(load_artifact(tmp_path / "yamnet"), threads=1)
    stored, window = opened.embeddings("yamnet"), 5 * 44100
    sizes = {"rate": 44100, "window": window, "windows": 5}
    rows = stored_rows(stored.indptr, stored.about, opened.lengths, **sizes)
    compared = 0
    for clip, places in enumerate(rows):
        if places[0] < 0:
            continue
        x = np.zeros(window, np.float32)
        heard = opened.samples(clip)[:window].astype(np.float32) / 32768
        x[: len(heard)] = heard
        made = embed_resampled(runner, x[None], 44100, 5)[0]
        np.testing.assert_array_equal(stored.values[places], made.astype(np.float16))
        compared += 1
    assert compared >= 3
