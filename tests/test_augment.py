"""Each change does exactly what it says, and the same generator gives the same change."""

import math

import numpy as np
import pytest
import torch

from auricle.augment import MIXINGS, mix, random_masks, random_speed, source_samples


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_speed_moves_a_tone_by_its_factor() -> None:
    rate, spread, samples = 16000, 0.25, 16000
    time = torch.arange(source_samples(samples, spread)) / rate
    tone = torch.sin(2 * math.pi * 1000 * time).repeat(64, 1)
    out = random_speed(tone, generator(), samples=samples, spread=spread)
    assert out.shape == (64, samples)
    peaks = torch.fft.rfft(out).abs().argmax(1).float()  # one bin is 1 Hz
    assert 800 - 2 <= peaks.min() < 830 and 1220 < peaks.max() <= 1250 + 2


def test_speed_without_spread_only_cuts() -> None:
    x = torch.randn(3, 10)
    assert torch.equal(random_speed(x, generator(), samples=8, spread=0.0), x[:, :8])


def test_speed_says_how_much_it_needs() -> None:
    with pytest.raises(ValueError, match="needs 14 samples to give 10, got 10"):
        random_speed(torch.zeros(1, 10), generator(), samples=10, spread=0.2)


def test_mix_training_gives_the_union_and_ratios_around_a_half() -> None:
    x, y = mix(torch.eye(200), torch.eye(200), generator(), how="mix_training")
    mixed = (x > 0).sum(1) == 2
    assert mixed.all() and set(y.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(y > 0, x > 0), "a clip's labels are those of its parts"
    parts = x[mixed][x[mixed] > 0]
    assert 0.4 <= parts.min() < 0.41 and 0.59 < parts.max() <= 0.6
    assert torch.allclose(x.sum(1), torch.ones(200))


MIXING = [how for how in MIXINGS if how != "none"]


@pytest.mark.parametrize("how", MIXING)
def test_no_clip_is_its_own_partner_and_each_is_that_of_one(how: str) -> None:
    for batch in (2, 3, 4, 7, 33):
        for seed in range(30):
            _, y = mix(torch.randn(batch, 8), torch.eye(batch), generator(seed), how=how)
            assert ((y > 0).sum(1) == 2).all() and ((y > 0).sum(0) == 2).all(), (batch, seed)


def test_each_other_clip_is_a_partner_equally_often() -> None:
    counts = torch.zeros(5, 5)
    for seed in range(4000):
        _, y = mix(torch.zeros(5, 1), torch.eye(5), generator(seed), how="mixup")
        counts += (y > 0).float()
    others = counts[~torch.eye(5, dtype=torch.bool)] / 4000
    assert others.numpy() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("how", MIXING)
def test_a_clip_alone_has_no_partner(how: str) -> None:
    with pytest.raises(
        ValueError, match=f"^mixing '{how}' takes another clip .* expected at least 2, got 1$"
    ):
        mix(torch.zeros(1, 8), torch.zeros(1, 2), generator(), how=how)
    x = torch.ones(1, 8)
    assert mix(x, x, generator(), how="none")[0] is x


SPANS = [(0.4, 0.6), (0.0, 1.0), (0.5, 0.5), (0.9, 1.0), (0.0, 0.0)]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("seed", range(5))
def test_mix_training_is_the_published_formula(span: tuple[float, float], seed: int) -> None:
    """x = a x_i + (1 - a) x_j and y = sign(y_i + y_j), written out in NumPy; unit vectors tell i, j and a."""
    random = np.random.default_rng(seed)
    batch, samples, classes = random.integers(2, 40), random.integers(1, 300), random.integers(1, 9)
    x = random.normal(size=(batch, samples)).astype(np.float32)
    y = (random.random((batch, classes)) < 0.4).astype(np.float32)
    told = mix(torch.eye(batch), torch.eye(batch), generator(seed), how="mix_training", mix_range=span)
    shares, owners = (part.double().numpy() for part in told)
    mixed, targets = mix(
        torch.from_numpy(x), torch.from_numpy(y), generator(seed), how="mix_training", mix_range=span
    )
    for k in range(batch):
        pair = np.flatnonzero(owners[k])
        assert k in pair and len(pair) == 2
        other, ratio = pair[pair != k][0], shares[k, k]
        assert span[0] - 1e-6 <= ratio <= span[1] + 1e-6
        expected = ratio * x[k].astype(np.float64) + (1 - ratio) * x[other].astype(np.float64)
        assert np.allclose(mixed[k].numpy(), expected, rtol=1e-5, atol=1e-6)
        assert np.array_equal(targets[k].numpy(), np.sign(y[k] + y[other]))
    if batch > 4 and 0 < span[0] < span[1]:
        assert len(np.unique(shares[(shares > 0) & (shares < 0.99)].round(6))) > 3, "a ratio for each clip"
    partners = [np.flatnonzero(owners[k] * (np.arange(batch) != k)) for k in range(batch)]
    once = np.concatenate(partners)
    assert len(once) == len(set(once.tolist())), "every clip is the partner of one"


def test_ratios_of_mix_training_are_uniform_over_their_range() -> None:
    for low, high in [(0.4, 0.6), (0.0, 1.0), (0.25, 0.5)]:
        x, y = mix(torch.eye(3000), torch.eye(3000), generator(5), how="mix_training", mix_range=(low, high))
        ratio = x.diagonal()[y.sum(1) == 2].double().numpy()
        assert low <= ratio.min() < low + 0.01 * (high - low) and high - 0.01 * (high - low) < ratio.max()
        assert ratio.max() <= high + 1e-6
        counts = np.histogram(ratio, bins=5, range=(low, high))[0]
        assert counts == pytest.approx(len(ratio) / 5, rel=0.15)


def test_the_union_of_soft_targets_is_the_surer_one() -> None:
    y = torch.tensor([[0.75, 0.25, 0.0], [0.5, 0.6, 0.0]])
    _, mixed = mix(torch.eye(2), y, generator(), how="mix_training")
    assert mixed.tolist() == [pytest.approx([0.75, 0.6, 0.0])] * 2


def test_mixing_leaves_what_it_was_given_as_it_is() -> None:
    x, y = torch.randn(6, 20), torch.rand(6, 3)
    before = x.clone(), y.clone()
    for how in MIXINGS:
        mix(x, y, generator(), how=how)
    assert torch.equal(x, before[0]) and torch.equal(y, before[1])


@pytest.mark.parametrize("span", [(0.6, 0.4), (-0.1, 0.5), (0.5, 1.1), (math.nan, 1.0)])
def test_ratios_outside_zero_and_one_are_refused(span: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected two numbers from 0 to 1, the smaller first"):
        mix(torch.zeros(2, 2), torch.zeros(2, 2), generator(), how="mix_training", mix_range=span)


@pytest.mark.gpu
@pytest.mark.parametrize("how", MIXINGS)
def test_mixing_stays_on_a_gpu_and_repeats_there(how: str) -> None:
    x, y = torch.randn(16, 1000, device="cuda"), (torch.rand(16, 5, device="cuda") > 0.5).float()
    one, two = (mix(x, y, torch.Generator("cuda").manual_seed(3), how=how) for _ in range(2))
    assert one[0].device == x.device == one[1].device
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


def test_mixup_uses_one_ratio_for_sound_and_labels() -> None:
    x, y = mix(torch.eye(100), torch.eye(100), generator(), how="mixup")
    assert torch.allclose(x, y) and x.min() >= 0 and (x[x > 0] < 0.05).any() and (x > 0.95).any()


def test_between_class_mixing_leaves_a_clip_as_it_is_beside_silence() -> None:
    """Else a clip would be brought down to the silence beside it, and still be called by its name."""
    sound = torch.randn(2, 8000, generator=generator()) * torch.tensor([[0.1], [1e-5]])
    for seed in range(20):
        mixed, targets = mix(
            sound, torch.tensor([[1.0], [0.0]]), torch.Generator().manual_seed(seed), how="between_class"
        )
        assert targets.tolist() == [[1.0], [1.0]]
        torch.testing.assert_close(mixed, sound.sum(0, keepdim=True).expand(2, -1))


def test_between_class_mixing_keeps_energy_and_follows_loudness() -> None:
    noise = torch.randn(64, 20000, generator=generator(3))
    levels = torch.logspace(-2, 0, 64)[:, None]
    x, y = mix(noise * levels, torch.eye(64), generator(), how="between_class")
    for row in range(64):
        (parts,) = (y[row] > 0).nonzero(as_tuple=True)
        if len(parts) < 2:
            continue
        first, second = parts.tolist()
        shares = [
            (x[row] @ noise[k]).abs() / noise[k].square().sum().sqrt() / math.sqrt(20000)
            for k in (first, second)
        ]
        ratio = float(shares[0] / (shares[0] + shares[1]))
        assert ratio == pytest.approx(float(y[row, first]), abs=0.05), "equal ratio, equal loudness"
        assert float(y[row].sum()) == pytest.approx(1, abs=1e-5)
        loudest = float(levels[[first, second]].max())
        assert float(x[row].square().mean().sqrt()) < 1.1 * loudest, "quieter than the louder one"


def test_no_mixing_changes_nothing() -> None:
    x, y = torch.randn(4, 8), torch.rand(4, 3)
    same = mix(x, y, generator(), how="none")
    assert same[0] is x and same[1] is y


def test_masks_cover_no_more_than_asked() -> None:
    out = random_masks(torch.zeros(300, 1, 50, 40), generator(), frames=10, bands=6, count=2, fill=1.0)
    frames = out[:, 0].amin(2).sum(1)  # wholly covered frames
    bands = out[:, 0].amin(1).sum(1)
    assert frames.max() <= 2 * 10 + 2 and bands.max() <= 2 * 6 + 2
    assert frames.max() >= 15 and bands.max() >= 8 and frames.min() <= 3
    assert torch.equal(
        random_masks(torch.zeros(2, 1, 5, 5), generator(), frames=0, bands=0), torch.zeros(2, 1, 5, 5)
    )


@pytest.mark.parametrize("how", MIXINGS)
def test_the_same_generator_gives_the_same_mix(how: str) -> None:
    x, y = torch.randn(8, 100), torch.rand(8, 3)
    one, two, other = (mix(x, y, generator(seed), how=how)[0] for seed in (1, 1, 2))
    assert torch.equal(one, two) and (how == "none" or not torch.equal(one, other))


def test_unknown_mixing_lists_the_known() -> None:
    with pytest.raises(ValueError, match="unknown mixing 'blend'; known: none, between_class"):
        mix(torch.zeros(1, 1), torch.zeros(1, 1), generator(), how="blend")
