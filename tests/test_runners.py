"""Runners: windows where they should be, and the same answer whoever stands beside it."""

from pathlib import Path

import numpy as np
import pytest
import tiny_model

from auricle.artifact import load_artifact, save_artifact
from auricle.runners import check, load_runner
from auricle.runners.windows import MeanScores, clip_scores, sigmoid, window_starts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("runners") / "tiny").path


def test_window_starts_match_a_slow_count() -> None:
    for num_samples in range(1, 40):
        for window, hop in ((4, 4), (4, 1), (5, 3), (3, 7), (1, 1)):
            grid = [s for s in range(0, num_samples, hop) if s + window <= num_samples] or [0]
            np.testing.assert_array_equal(window_starts(num_samples, window, hop), grid)
            last = max(num_samples - window, 0)
            expected = grid if grid[-1] == last else [*grid, last]
            np.testing.assert_array_equal(window_starts(num_samples, window, hop, "align"), expected)
    assert len(window_starts(0, 4, 4)) == 0


def test_window_starts_refuse_what_makes_no_sense() -> None:
    for arguments in ((10, 0, 1), (10, 1, 0), (-1, 1, 1)):
        with pytest.raises(ValueError, match="expected window, hop >= 1"):
            window_starts(*arguments)
    with pytest.raises(ValueError, match=r'tail is \'keep\'; expected "drop" or "align"'):
        window_starts(10, 1, 1, "keep")


def test_clip_scores_are_the_mean_of_sigmoids_however_they_arrive() -> None:
    logits = np.random.default_rng(0).normal(0, 8, (1003, 5)).astype(np.float32)
    expected = (1 / (1 + np.exp(-logits.astype(np.float64)))).mean(axis=0)
    np.testing.assert_allclose(clip_scores(logits), expected, rtol=1e-12)
    for width in (5, 1):  # one column alone is where NumPy adds in another order
        whole = clip_scores(logits[:, :width])
        for size in (1, 16, 700):
            mean = MeanScores(width)
            for start in range(0, len(logits), size):
                mean.add(logits[start : start + size, :width])
            np.testing.assert_array_equal(mean.mean(), whole)


def test_scores_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no windows"):
        clip_scores(np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"expected logits \(windows, classes\)"):
        clip_scores(np.zeros(3))


def test_sigmoid_does_not_overflow() -> None:
    np.testing.assert_array_equal(sigmoid(np.array([-1e30, 0, 1e30], np.float32)), [0, 0.5, 1])


def test_a_window_scores_the_same_beside_any_neighbours_and_at_any_place(model: Path) -> None:
    runner = load_runner(load_artifact(model), threads=2, batch=8)
    rng = np.random.default_rng(1)
    one = rng.uniform(-1, 1, (1, tiny_model.WINDOW)).astype(np.float32)
    logits, embeddings = runner.run(one)
    assert logits.shape == (1, 3) and embeddings.shape == (1, 4) and np.abs(logits).max() > 0.1
    for place in range(19):
        others = rng.uniform(-1, 1, (19, tiny_model.WINDOW)).astype(np.float32)
        others[place] = one
        found, embedded = runner.run(others)
        np.testing.assert_array_equal(found[place], logits[0])
        np.testing.assert_array_equal(embedded[place], embeddings[0])
        assert len(np.unique(found[:, 0])) == 19


def test_results_are_the_callers_own(model: Path) -> None:
    runner = load_runner(load_artifact(model), threads=1, batch=2)
    first, _ = runner.run(np.ones((2, tiny_model.WINDOW), np.float32))
    kept = first.copy()
    runner.run(np.zeros((2, tiny_model.WINDOW), np.float32))
    np.testing.assert_array_equal(first, kept)
    assert runner.run(np.zeros((0, tiny_model.WINDOW), np.float32))[0].shape == (0, 3)


def test_the_file_and_the_folder_answer_alike(model: Path, tmp_path: Path) -> None:
    file = tiny_model.save_file(tmp_path / "tiny.onnx")
    waveforms = np.random.default_rng(2).uniform(-1, 1, (3, tiny_model.WINDOW)).astype(np.float32)
    answers = [load_runner(load_artifact(path), threads=1).run(waveforms)[0] for path in (model, file)]
    np.testing.assert_array_equal(*answers)
    assert check(load_runner(load_artifact(file), threads=1))["ok"]


def test_check_sees_a_model_that_answers_otherwise(model: Path, tmp_path: Path) -> None:
    result = check(load_runner(load_artifact(model), threads=1))
    assert result["ok"] and result["max_difference"] <= result["tolerance"] == 1e-4
    waveforms, logits = tiny_model.check_vector(tiny_model.graph())
    tiny_model.save(tmp_path / "off", check=(waveforms, logits + np.float32(0.01)))
    result = check(load_runner(load_artifact(tmp_path / "off"), threads=1))
    assert not result["ok"] and result["max_difference"] == pytest.approx(0.01, rel=1e-3)
    broken = tiny_model.graph(not_a_number=True)
    save_artifact(tmp_path / "nan", onnx=broken, check=(waveforms, logits), **tiny_model.description())
    assert not check(load_runner(load_artifact(tmp_path / "nan"), threads=1))["ok"]


def test_a_graph_of_other_labels_is_refused(tmp_path: Path) -> None:
    content = tiny_model.graph(classes=4)
    check = tiny_model.check_vector(tiny_model.graph())
    saved = save_artifact(tmp_path / "m", onnx=content, check=check, **tiny_model.description())
    with pytest.raises(ValueError, match=r"logits has shape \[4\], but model\.json says 3 values"):
        load_runner(saved)
    saved = save_artifact(tmp_path / "m", onnx=b"not a graph", check=check, **tiny_model.description())
    with pytest.raises(ValueError, match=r"model\.onnx: onnxruntime cannot load it"):
        load_runner(saved)


def test_wrong_use_is_refused_in_words(model: Path) -> None:
    artifact = load_artifact(model)
    with pytest.raises(ValueError, match=r"expected waveforms \(B, 2000\), got \(1, 5\)"):
        load_runner(artifact, threads=1).run(np.zeros((1, 5), np.float32))
    for options, message in (
        ({"batch": 0}, "batch is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"device": "cuda"}, "runs on the CPU here"),
    ):
        with pytest.raises(ValueError, match=message):
            load_runner(artifact, **options)


def test_a_torch_model_runs_from_its_folder(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from auricle.frontend import LogMel
    from auricle.models import MODELS

    torch.set_num_threads(1)
    torch.manual_seed(0)
    arguments = {"num_classes": 3, "stem": 4, "widths": [4, 8], "blocks": [1, 1]}
    net = MODELS["compact"](**arguments).eval()
    waveforms = np.random.default_rng(0).uniform(-1, 1, (5, tiny_model.WINDOW)).astype(np.float32)
    with torch.inference_mode():
        x = LogMel(tiny_model.CONFIG)(torch.from_numpy(waveforms))
        expected, embedded = net(x).numpy(), net.embed(x).numpy()
    fields = tiny_model.description() | {"architecture": {"name": "compact", "arguments": arguments}}
    fields["embedding_size"] = net.embedding_size
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    saved = save_artifact(tmp_path / "m", weights=weights, check=(waveforms, expected), **fields)
    runner = load_runner(saved, threads=1, batch=2)
    logits, embeddings = runner.run(waveforms)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(embeddings, embedded, atol=1e-5)
    np.testing.assert_array_equal(runner.run(waveforms[3:4])[0][0], logits[3])
    assert check(runner)["ok"]
    with pytest.raises(ValueError, match="device is 'banana'; expected cpu, cuda, or one of several"):
        load_runner(saved, device="banana")
    with pytest.raises(ValueError, match=r"device is 'cuda:99', but torch sees .* CUDA devices here"):
        load_runner(saved, device="cuda:99")
    for change, message in (
        ({"architecture": {"name": "nonesuch"}}, r"unknown model 'nonesuch'; known: .*compact"),
        ({"architecture": {"name": "compact", "arguments": {"depth": 3}}}, "does not take these arguments"),
        ({"architecture": {"name": "compact", "arguments": arguments | {"stem": 5}}}, "weights do not fit"),
    ):
        wrong = save_artifact(
            tmp_path / "w", weights=weights, check=(waveforms, expected), **(fields | change)
        )
        with pytest.raises(ValueError, match=message):
            load_runner(wrong)
