"""What is trained for ESC-50's folds, and who teaches it: none hears the fold that it is asked about."""

from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tiny_fusion
from running import load_script

from auricle.artifact import load_artifact
from auricle.experiments.lines import RESULTS


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("benchmarks/esc50_folds.py")


def options(**changed: Any) -> Namespace:
    given = {"recipe": "compact-esc50-long", "data": Path("pack"), "out": Path("new"), "set": ["epochs=3"]}
    given |= {
        "beside": "made",
        "taught_by": [],
        "begun_by": None,
        "average": [],
        "shares": None,
        "shipped": False,
        "jobs": 1,
        "window": None,
    }
    return Namespace(**given | {"folds": "fold1,fold2,fold3,fold4,fold5"} | changed)


def test_each_fold_is_left_out_once_and_what_is_beside_is_in_all(script: ModuleType) -> None:
    jobs = script.jobs_of(options())
    for job in jobs:
        splits = job.settings["train_splits"].split(",")
        assert job.fold not in splits and sorted([*splits, job.fold]) == [*script.FOLDS, "made"]
        assert job.settings["epochs"] == "3" and "teachers" not in job.settings and job.threads is None
        assert job.run == Path("new", job.fold, "run")
    assert [job.fold for job in jobs] == list(script.FOLDS)


def test_teachers_are_the_models_of_the_same_fold(script: ModuleType) -> None:
    jobs = script.jobs_of(options(taught_by=[Path("a"), Path("b")], shipped=True, jobs=2))
    shipped, *folds = jobs
    assert (shipped.fold, shipped.recipe, shipped.threads) == ("shipped", "compact-esc50-long-free", 1)
    assert shipped.settings["teachers"] == "a/shipped/last,b/shipped/last"
    assert "train_splits" not in shipped.settings
    for job in folds:
        assert job.settings["teachers"] == f"a/{job.fold}/run/last,b/{job.fold}/run/last"


def test_weights_to_begin_with_are_those_of_the_same_fold(script: ModuleType) -> None:
    shipped, *folds = script.jobs_of(options(begun_by=Path("a"), shipped=True))
    assert shipped.settings["init_from"] == "a/shipped/last"
    assert [job.settings["init_from"] for job in folds] == [f"a/{job.fold}/run/last" for job in folds]
    assert all("init_from" not in job.settings for job in script.jobs_of(options(shipped=True)))
    figures = {fold: dict.fromkeys((*script.METRICS, "hours"), 0.5) for fold in script.FOLDS}
    row = script.rows_of(options(begun_by=Path("runs/a"), set=[]), figures)[0]
    assert row[0] == "compact-esc50-long, begun by a"


def test_a_mean_is_of_the_models_of_the_same_fold(script: ModuleType, tmp_path: Path) -> None:
    shipped, *folds = script.jobs_of(options(average=[Path("runs/a"), Path("runs/b")], shipped=True))
    assert shipped.average == (Path("runs/a/shipped/last"), Path("runs/b/shipped/last"))
    for job in folds:
        assert job.average == tuple(Path("runs", name, job.fold, "run/last") for name in "ab")
    figures = {fold: dict.fromkeys((*script.METRICS, "hours"), 0.5) for fold in script.FOLDS}
    run = tmp_path / "fold1" / "run"
    run.mkdir(parents=True)
    (run / script.MEAN).write_text('{"hours": 0.5, "seed": "3, 4"}')
    given = options(average=[Path("runs/a"), Path("runs/b")], set=[], out=tmp_path)
    row = script.rows_of(given, figures)[0]
    assert row[0] == "compact-esc50-long, mean of a and b" and row[9] == "3, 4"
    assert (script.hours_of(run), script.seed_of(run)) == (0.5, "3, 4")


def test_rows_name_what_was_set_and_have_a_mean_of_five_alone(script: ModuleType) -> None:
    figures = {fold: dict.fromkeys((*script.METRICS, "hours"), 0.5) for fold in script.FOLDS}
    rows = script.rows_of(options(taught_by=[Path("a")]), figures)
    assert {row[0] for row in rows} == {"compact-esc50-long, epochs=3, taught by 1"}
    assert {row[1] for row in rows} == {"ESC-50, made sounds beside"}
    assert {row[9] for row in rows} == {"0"} and {len(row) for row in rows} == {len(RESULTS)}
    (seeded, *_) = script.rows_of(options(set=["seed=3"], window=5.0), figures)
    assert seeded[0] == "compact-esc50-long, seed=3, windows of 5 s" and seeded[9] == "3"
    assert rows[-1][2:5] == ["mean", "d_prime", "0.5000"] and rows[-1][7] == "2.500"
    few = {fold: figures[fold] for fold in ("fold1", "fold2")}
    assert {row[2] for row in script.rows_of(options(), few)} == {"fold1", "fold2"}


def test_a_mean_is_made_once_judged_and_counted(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training and evaluation are other tests': here, what is averaged, in which shares, and what is said."""
    tiny_fusion.register(monkeypatch)
    for name, seconds in (("a", 1800), ("b", 900)):
        run = tmp_path / name / "fold2" / "run"
        run.mkdir(parents=True)
        tiny_fusion.save(run / "last", ["a", "b"], seed=seconds)
        (run / "log.jsonl").write_text(f'{{"seconds": {seconds}}}\n')
        (run / "config.json").write_text(f'{{"seed": {seconds // 450}}}')

    def judged(model: Path, data: Path, **given: Any) -> dict[str, float]:
        assert model == tmp_path / "new/fold2/run/last" and given["splits"] == ["fold2"]
        return dict.fromkeys(script.METRICS, 0.5)

    monkeypatch.setattr(script, "evaluate", judged)
    given = {"recipe": "compact-esc50", "average": [tmp_path / "a", tmp_path / "b"], "out": tmp_path / "new"}
    given |= {"set": [], "folds": "fold2"}

    def done(shares: tuple[float, ...], window: float | None) -> float:
        (job,) = script.jobs_of(options(**given, shares=shares, window=window))
        assert script.do(job)["hours"] == 0.75
        return float((tmp_path / "new/fold2/run/last/model.json").stat().st_mtime_ns)

    first = done((1.0, 3.0), None)
    assert done((1.0, 3.0), 3.0) == first, "the same model, in other windows"
    assert done((1.0, 1.0), 3.0) != first, "another mean is made"
    parts = load_artifact(tmp_path / "new/fold2/run/last").training["averaged"]
    assert [part["share"] for part in parts] == [0.5, 0.5]
    assert script.seed_of(tmp_path / "new/fold2/run") == "4, 2"
    rows = script.rows_of(options(**given), {"fold2": dict.fromkeys((*script.METRICS, "hours"), 0.5)})
    assert rows[0][2] == "fold2" and rows[0][9] == "4, 2"
    given["out"] = tmp_path / "a"
    with pytest.raises(ValueError, match="a/fold2/run: holds a training; name another folder with --out"):
        done((1.0, 1.0), None)


def test_of_a_recipe_the_plot_has_the_mean_of_models_or_the_one_with_most_teachers(tmp_path: Path) -> None:
    trained = load_script("benchmarks/speed_networks.py").trained
    rows = [",".join(RESULTS)]
    for recipe, value in (
        ("compact-esc50-robust, seed=9, taught by 1", 0.1),
        ("compact-esc50-robust, seed=2, taught by 2, begun by a", 0.2),
        ("compact-esc50-robust, seed=10, taught by 2, begun by b", 0.3),
        ("compact-esc50-long", 0.4),
        ("compact-esc50-long, mean of a and b", 0.5),
        ("compact-esc50-long, mean of a and b, windows of 5 s", 0.6),
    ):
        rows += [f'"{recipe}",ESC-50,fold{k},accuracy,{value},,0a,1,a processor,0,make' for k in (1, 2)]
    (tmp_path / "results.csv").write_text("\n".join(rows) + "\n")
    found = {network.name: network.accuracy for network in trained(tmp_path / "results.csv")}
    assert found == {"compact-esc50-robust": pytest.approx(0.2), "compact-esc50-long": pytest.approx(0.5)}
