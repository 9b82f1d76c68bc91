"""Changes of pitch, volume and background in training: heard again from the seed, never of what is judged."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_urban
import torch
from tiny_urban import CLIP, RATE
from tones import TinyPlain, same_weights

import auricle.training.loop as loop
from auricle.augment import mix
from auricle.changes import Change, apply_changes, draw_changes, generator_of_step
from auricle.engine import pack as pack_corpus
from auricle.models import MODELS
from auricle.recipes import configure as configure_recipe
from auricle.shards import Pack
from auricle.training import TrainConfig, configure, train
from auricle.training.data import choose_clips, make_sampler
from auricle.training.loop import learning_rate, read_ahead
from auricle.training.outcome import LiveRunner
from auricle.training.state import make_state
from auricle.training.step import seed_step, update
from auricle.training.task import Task, open_recordings

CPU = torch.device("cpu")
CHANGED: dict[str, Any] = {
    "pitch_semitones": 2.0,
    "gain_decibels": 4.0,
    "noise": ("pink", "recording"),
    "noise_share": 0.8,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_urban.make_corpus(tmp_path_factory.mktemp("urban"))


@pytest.fixture(autouse=True)
def _tiny_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_plain", TinyPlain)


def heard_at(
    corpus: Path, config: TrainConfig, step: int, logmels: list[torch.Tensor] | None = None
) -> torch.Tensor:
    """(B, N): the waveforms that the front end gets at a step, as training itself makes them.

    `logmels` takes what the net gets of them.
    """
    pack = Pack(corpus)
    clips, held = choose_clips(pack, config)
    state = make_state(config, len(pack.label_names(config.label_set)), CPU)
    live = LiveRunner(config, pack, state.average, CPU, torch.float32)
    seen: list[torch.Tensor] = []
    live.frontend.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    if logmels is not None:
        state.net.register_forward_pre_hook(lambda _, inputs: logmels.append(inputs[0]))
    state.step = step
    batch = read_ahead(pack, clips, make_sampler(pack, clips, config), range(1), live, config).read(step)
    task = Task(recordings=open_recordings(config, pack, clips, held))
    update(state, batch, 0.01, live, config, task)
    return seen[0]


def drawn_at(corpus: Path, config: TrainConfig, step: int) -> tuple[np.ndarray, list[Change], Any]:
    """From seed and step alone: which clips, what is done to them, the backgrounds."""
    pack = Pack(corpus)
    clips, held = choose_clips(pack, config)
    drawn, offsets = make_sampler(pack, clips, config).draw(step)
    assert not offsets.any(), "a clip is as long as a window"
    recordings = open_recordings(config, pack, clips, held)
    assert config.changes is not None
    changes = draw_changes(
        len(drawn), generator_of_step(config.seed, step), config.changes, samples=CLIP, recordings=recordings
    )
    return clips[drawn], changes, recordings


@pytest.mark.parametrize("step", [0, 7])
def test_what_a_row_of_a_step_heard_is_made_again_from_the_seed(corpus: Path, step: int) -> None:
    config = tiny_urban.config_for(corpus, **CHANGED, batch=8, seed=3)
    heard = heard_at(corpus, config, step)
    clips, changes, recordings = drawn_at(corpus, config, step)
    assert {change.noise for change in changes} == {"", "pink", "recording"}
    for row in (0, 5):  # each alone
        clip = torch.from_numpy(Pack(corpus).samples(int(clips[row])).astype(np.float32) / 32768)[None]
        again = apply_changes(clip, changes[row : row + 1], rate=RATE, recordings=recordings)
        assert torch.equal(again[0], heard[row])
        assert not torch.equal(clip[0], heard[row])


def test_another_step_and_another_seed_hear_something_else(corpus: Path) -> None:
    config = tiny_urban.config_for(corpus, **CHANGED)
    kinds = [drawn_at(corpus, config, 1)[1], drawn_at(corpus, config, 2)[1]]
    kinds.append(drawn_at(corpus, dataclasses.replace(config, seed=1), 1)[1])
    assert all(kinds[a] != kinds[b] for a, b in ((0, 1), (0, 2)))


ONE: dict[str, dict[str, Any]] = {
    "pitch": {"pitch_semitones": 2.0},
    "volume": {"gain_decibels": 6.0},
    "noise": {"noise": ("white", "brown"), "noise_share": 0.9},
    "all": {"pitch_semitones": 2.0, "gain_decibels": 6.0, "noise": ("pink",)},
}


def plain_at(corpus: Path, config: TrainConfig, step: int) -> torch.Tensor:
    """(B, N): what a step draws, unchanged."""
    pack = Pack(corpus)
    clips, _ = choose_clips(pack, config)
    drawn, _ = make_sampler(pack, clips, config).draw(step)
    return torch.from_numpy(pack.patches(clips[drawn], drawn * 0, CLIP).astype(np.float32) / 32768)


def lines_of_the_page(heading: str, monkeypatch: pytest.MonkeyPatch, config: TrainConfig) -> dict[str, Any]:
    """What the Python below a heading of docs/urban.md leaves, with another configuration for its own."""
    page = (Path(__file__).parents[1] / "docs" / "urban.md").read_text()
    block = re.search(r"```python\n(.*?)```", page.partition(heading)[2], re.DOTALL)
    assert block is not None and "draw_changes(" in block[1]
    monkeypatch.setattr("auricle.recipes.configure", lambda recipe, data: config)
    names: dict[str, Any] = {"waveform": torch.rand(8, 441_000, generator=torch.Generator().manual_seed(0))}
    exec(block[1], names)
    return names


@pytest.mark.parametrize("kind", ONE)
def test_the_lines_of_the_page_make_again_what_a_step_heard(
    corpus: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_urban.config_for(corpus, **ONE[kind], seed=3)
    found = lines_of_the_page("**What a step heard, again.**", monkeypatch, config)
    assert torch.equal(found["heard"], heard_at(corpus, config, found["step"]))
    assert not torch.equal(found["heard"], plain_at(corpus, config, found["step"]))
    named = {"pitch": "semitones", "volume": "gain", "noise": "snr"}
    for other, name in named.items():
        assert any(getattr(change, name) for change in found["changes"]) == (kind in (other, "all"))


def test_without_changes_the_lines_of_the_page_say_so(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no change is drawn and clips are heard as they are in the pack"):
        lines_of_the_page("**What a step heard, again.**", monkeypatch, tiny_urban.config_for(corpus))


def test_the_lines_of_the_page_on_draws_run(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = lines_of_the_page("**Again.**", monkeypatch, tiny_urban.config_for(corpus))
    assert found["heard"].shape == (1, 441_000) and len(found["changes"]) == 32


@pytest.mark.parametrize("mixing", ["none", "between_class"])
def test_volume_alone_stays_within_its_decibels_and_comes_after_mixing(corpus: Path, mixing: str) -> None:
    """Before, mixing at equal loudness would even it out."""
    config = tiny_urban.config_for(corpus, gain_decibels=6.0, mixing=mixing, batch=16)
    heard = heard_at(corpus, config, 2)
    plain = plain_at(corpus, config, 2)
    if mixing != "none":
        generator = seed_step(config.seed, 2, CPU)
        plain = mix(plain, torch.zeros(16, 1), generator, how=mixing, mix_range=config.mix_range)[0]
    factor = heard.square().mean(1).sqrt() / plain.square().mean(1).sqrt()
    assert 4 < (20 * factor.log10()).abs().max() < 6 and factor.std() > 0.1
    torch.testing.assert_close(heard, plain * factor[:, None])


@pytest.mark.parametrize("decibels", [0.0, 80.0])
def test_masks_are_in_the_middle_of_what_a_log_mel_holds(corpus: Path, decibels: float) -> None:
    """Of decibels half way between the loudest, 0, and the quietest that there may be."""
    features = dataclasses.replace(tiny_urban.FEATURES, decibels=decibels)
    config = tiny_urban.config_for(corpus, features=features, mask_frames=60)
    seen: list[torch.Tensor] = []
    heard_at(corpus, config, 1, seen)
    covered = seen[0].amax(3) == seen[0].amin(3)  # whole frames of one value
    values = seen[0].amax(3)[covered].unique()
    assert covered.sum() > 20
    assert values.tolist() == [-40.0 if decibels else -2.5]


def backgrounds(corpus: Path, config: TrainConfig) -> set[str]:
    """Recordings of the pack that noise comes from in 300 steps."""
    pack = Pack(corpus)
    clips, held = choose_clips(pack, config)
    found = open_recordings(config, pack, clips, held)
    source = Pack(config.noise_pack) if config.noise_pack else pack
    assert found is not None and config.changes is not None
    used = set()
    for step in range(300):
        changes = draw_changes(4, generator_of_step(0, step), config.changes, samples=CLIP, recordings=found)
        used |= {change.recording for change in changes if change.noise == "recording"}
    return {str(name) for name in source.recordings[sorted(used)]}


ALONE: dict[str, Any] = {"noise": ("recording",), "noise_share": 1.0}


@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_no_clip_of_validation_is_a_background(corpus: Path, fraction: float) -> None:
    """Whether a split or a share of the recordings is held out."""
    where: dict[str, Any] = {"validation_splits": ()} if fraction else {}
    config = tiny_urban.config_for(corpus, **ALONE, **where, validation_fraction=fraction)
    clips, held = choose_clips(Pack(corpus), config)
    recordings = Pack(corpus).recordings
    assert backgrounds(corpus, config) == {str(name) for name in recordings[clips]}
    assert len(held) and not {str(name) for name in recordings[held]} & backgrounds(corpus, config)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noises of three folds; some of the corpus's own recordings are among them, by name."""
    folder = tmp_path_factory.mktemp("street")
    rows = ["path,labels,split,group"]
    for number, group in enumerate(("wind", "g1", "g12", "crowd", "g14", "bus")):
        noise = np.random.default_rng(number).normal(0, 0.1, RATE)
        soundfile.write(folder / f"{number}.wav", noise, RATE)
        rows.append(f"{number}.wav,noise,fold{number // 2 + 1},{group}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    pack_corpus(folder / "manifest.csv", folder / "pack", rate=RATE, jobs=1, quiet=True)
    return folder / "pack"


def test_another_pack_gives_backgrounds_but_for_recordings_that_are_judged(
    corpus: Path, street: Path
) -> None:
    """g1 is trained on; g12 and g14 are of validation."""
    config = tiny_urban.config_for(
        corpus, **ALONE, noise_pack=str(street), noise_splits=("fold1", "fold2", "fold3")
    )
    assert backgrounds(corpus, config) == {"wind", "g1", "crowd", "bus"}
    one = dataclasses.replace(config, noise_splits=("fold2",))
    assert backgrounds(corpus, one) == {"crowd"}
    with pytest.raises(ValueError, match="name the splits that noise may come from"):
        backgrounds(corpus, dataclasses.replace(config, noise_splits=()))


def test_backgrounds_of_another_rate_are_refused_before_a_run_begins(corpus: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 8000)
    (tmp_path / "m.csv").write_text("path,labels,split\na.wav,noise,train\n")
    pack_corpus(tmp_path / "m.csv", tmp_path / "pack", rate=8000, jobs=1, quiet=True)
    config = tiny_urban.config_for(corpus, **ALONE, noise_pack=str(tmp_path / "pack"))
    with pytest.raises(ValueError, match="its rate is 8000 Hz, and noise is wanted at 16000 Hz"):
        train(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": ("rain",)}, "noise is 'rain'; known: white, pink, brown, recording"),
        ({"pitch_semitones": 13.0}, "pitch_semitones: expected 0 to 12, got 13.0"),
        ({"gain_decibels": 70.0}, "gain_decibels: expected 0 to 60 dB, got 70.0"),
        ({"pitch_semitones": 1.0, "gain_decibels": 70.0}, "gain_decibels: expected 0 to 60 dB, got 70.0"),
        ({"noise": ("pink",), "noise_snr": (30.0, 10.0)}, "noise_snr: expected two numbers"),
        ({"noise": ("pink",), "noise_share": 1.5}, "noise_share: expected 0 to 1, got 1.5"),
        ({"noise_snr": (0.0, 5.0)}, r"noise_snr is \(0.0, 5.0\), but noise has no kind; set noise"),
        ({"noise_share": 1.0}, "noise_share is 1.0, but noise has no kind; set noise"),
        (
            {"noise": ("pink",), "noise_pack": "street"},
            "noise_pack is 'street', but noise has no 'recording'",
        ),
        (ALONE | {"noise_splits": ("fold1",)}, "noise_splits is fold1, but noise_pack"),
        ({"noise": ("pink",), "embeddings": "yamnet"}, r"noise is \('pink',\), .*set noise to \[\],"),
        ({"pitch_semitones": 1.0, "embeddings": "yamnet"}, "pitch_semitones is 1.0, which changes waveforms"),
    ],
)
def test_changes_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(data=Path("pack"), steps=1, **changes)


def test_settings_are_read_from_text() -> None:
    config = configure(
        TrainConfig(data=Path("pack"), steps=1),
        {"noise": "pink,recording", "noise_pack": "street", "noise_splits": "fold1", "noise_snr": "5,20"},
    )
    assert (config.noise, config.noise_splits, config.noise_snr) == (
        ("pink", "recording"),
        ("fold1",),
        (5, 20),
    )
    recipe = configure_recipe("tompkins", data=Path("pack"), settings={"noise": "[]"})
    assert recipe.noise == () and recipe.changes is not None and recipe.changes.noise_share == 0


@pytest.mark.parametrize("changed", [CHANGED, ONE["volume"]], ids=["all", "volume"])
def test_a_run_with_changes_that_was_killed_ends_the_same(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    config = tiny_urban.config_for(corpus, **changed, steps=6)
    train(config, tmp_path / "whole", quiet=True)

    def until(config: Any, step: int, steps: int) -> float:
        if step == 5:
            raise KeyboardInterrupt
        return learning_rate(config, step, steps)

    monkeypatch.setattr(loop, "learning_rate", until)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "killed", quiet=True)
    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    train(config, tmp_path / "killed", resume=True, quiet=True)
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    train(dataclasses.replace(config, noise=("pink",)), tmp_path / "other", quiet=True)
    assert not same_weights(tmp_path / "whole", tmp_path / "other")
