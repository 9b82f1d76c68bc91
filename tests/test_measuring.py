"""Unit costs that are taken on this machine are those that a clock says, and can be planned with."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from auricle import measuring
from auricle.engine import pack as really_pack
from auricle.measuring import machine_name, measure_costs
from auricle.planning import Question, make_plan, read_costs

TINY = {"few": 4, "many": 12, "seconds": 4.0}


STARTING, SPEED = 0.7, 500.0  # seconds that a packing takes before it does anything; audio a second after


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that packing alone moves, so that what else the machine does is not measured."""
    now = [0.0]

    def pack(clips: list, out: Path, *, jobs: int, quiet: bool) -> None:
        really_pack(clips, out, jobs=jobs, quiet=quiet)
        now[0] += STARTING + measuring._seconds_of(out) / (SPEED * jobs)

    monkeypatch.setattr(measuring, "ROUNDS", 1)
    monkeypatch.setattr(measuring, "default_jobs", lambda: 1)
    monkeypatch.setattr(measuring, "pack", pack)
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: now[0]))


def test_packing_is_measured_without_what_starting_takes(tmp_path: Path) -> None:
    file = tmp_path / "here.yaml"
    measure_costs(file, **TINY)
    costs = read_costs(file)
    assert list(costs) == ["pack"] and costs["pack"].facts == {"cores": 1}
    assert costs["pack"].value == pytest.approx(SPEED, rel=1e-3)
    content = yaml.safe_load(file.read_text())
    assert content["machine"] == machine_name() and "pyarrow" in content["software"]
    assert str(tmp_path) not in file.read_text()
    assert make_plan(Question(hours=10), costs)["pack_seconds"] == pytest.approx(72, rel=1e-3)


def test_packing_is_measured_on_recordings_of_the_users(tmp_path: Path) -> None:
    measuring._recordings(tmp_path / "mine", 4.0)
    measure_costs(tmp_path / "here.yaml", media=[tmp_path / "mine"], **TINY)
    (cost,) = read_costs(tmp_path / "here.yaml").values()
    assert cost.how.startswith("4 recordings of the user's: 3 times")
    assert cost.value == pytest.approx(SPEED, rel=1e-3)


def test_nothing_to_measure_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no recording to measure packing on"):
        measure_costs(tmp_path / "x.yaml", media=[tmp_path / "empty"])
    with pytest.raises(ValueError, match=r"x\.yaml: there is no folder .*nowhere$"):
        measure_costs(tmp_path / "nowhere/x.yaml")
    assert not list(tmp_path.glob("*.yaml"))


def test_a_network_is_measured_with_the_labels_and_windows_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from auricle.experiments.unit_costs import measure_network

    found = measure_network(tmp_path, "fully_connected", labels=7, batch=4, device="cpu")
    assert [cost.name for cost in found.costs] == ["train.fully_connected", "score.fully_connected"]
    train, score = found.costs
    assert found.device == "cpu" and "CPU cores" in train.device
    assert train.facts["labels"] == 7 and train.facts["window"] == 0.975 and train.facts["hop"] == 0.96
    assert 0 < train.value and train.value < 10 * score.value, "learning does what scoring does, and more"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet", "unknown model 'resnet'; known: alexnet"),
        ("single_attention", "single_attention takes embedding: networks on logmel or waveform are measured"),
    ],
)
def test_networks_that_cannot_be_measured_are_refused(tmp_path: Path, model: str, message: str) -> None:
    pytest.importorskip("torch")
    from auricle.experiments.unit_costs import measure_network

    with pytest.raises(ValueError, match=message):
        measure_network(tmp_path, model, labels=7, batch=4)
