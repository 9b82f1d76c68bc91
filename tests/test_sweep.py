"""A sweep tries settings by train(), stops poor trials, shares them between processes, and survives kills."""

import dataclasses
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import torch
from test_experiments import make_corpus

from auricle.cli import main
from auricle.experiments import SweepOptions, sweep
from auricle.experiments.space import PRESETS, Range, as_setting, examples, grid, parse_space
from auricle.experiments.trials import open_storage
from auricle.recipes import configure, read_settings
from auricle.training import Diverged, train

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "model": "fully_connected",
    "model_arguments.units": "8",
    "steps": "20",
    "precision": "float32",
    "train_splits": "train",
    "validation_splits": "validation",
    "checkpoint_every": "2",
}
OVER = {"learning_rate": "log:1e-5:1e-2", "batch": "4,8", "model_arguments.layers": "1,2"}
LIMIT = 120  # seconds
MODULE = importlib.import_module("auricle.experiments.sweep")  # the package has a function of that name


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def options_for(corpus: Path, out: Path, **changes: object) -> SweepOptions:
    options = SweepOptions(
        data=corpus,
        out=out,
        recipe="hershey",
        over=OVER,
        settings=SETTINGS,
        trials=3,
        device="cpu",
        threads=1,
    )
    return dataclasses.replace(options, **changes)  # type: ignore[arg-type]


def command_for(options: SweepOptions) -> list[str]:
    words = [sys.executable, "-W", "error", "-m", "auricle", "sweep", "--data", str(options.data)]
    words += ["--out", str(options.out), "--recipe", options.recipe, "--trials", str(options.trials)]
    words += ["--device", "cpu", "--threads", "1", "--sampler", options.sampler, "--pruner", options.pruner]
    words += ["--storage", options.storage] if options.storage else []
    for key, text in options.over.items():
        words += ["--over", f"{key}={text}"]
    for key, text in options.settings.items():
        words += ["--set", f"{key}={text}"]
    return words


def start(options: SweepOptions) -> subprocess.Popen[str]:
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command_for(options),
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def outcomes(out: Path) -> dict[int, tuple]:
    """Trial -> how it ended and what it gave, without hours and names."""
    rows = json.loads((out / "results.json").read_text())["trials"]
    assert len({row["trial"] for row in rows}) == len(rows)
    names = ("ended", "map", "best_step", "steps", "settings")
    return {row["trial"]: tuple(row[name] for name in names) for row in rows}


def stored(out: Path) -> list[optuna.trial.FrozenTrial]:
    storage = open_storage(f"sqlite:///{out}/sweep.db")
    trials = optuna.load_study(study_name="sweep", storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return trials


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("swept") / "out"
    sweep(options_for(corpus, out, trials=8), quiet=True)
    return out


# --- what it writes


def test_every_trial_is_a_run_of_train_and_its_value_the_best_map_in_its_log(
    corpus: Path, finished: Path
) -> None:
    found = outcomes(finished)
    assert sorted(found) == list(range(8))
    for number, (ended, best, _, steps, settings) in found.items():
        run = finished / f"trials/{number:04d}"
        maps = [entry["validation_map"] for entry in log_of(run) if "validation_map" in entry]
        assert best == max(maps)
        kept = json.loads((run / "config.json").read_text())
        assert kept["learning_rate"] == float(settings["learning_rate"])
        assert kept["batch"] == int(settings["batch"])
        assert kept["model_arguments"] == {"units": 8, "layers": int(settings["model_arguments.layers"])}
        assert (ended, steps, (run / "last").is_dir()) in [
            ("finished", 20, True),
            ("stopped early", steps, False),
        ]
    for trial in stored(finished):
        reported = [
            e["validation_map"]
            for e in log_of(finished / f"trials/{trial.number:04d}")
            if "validation_map" in e
        ]
        assert list(trial.intermediate_values.values()) == reported


def test_poor_trials_are_stopped_after_a_quarter_and_not_before_five_have_finished(finished: Path) -> None:
    found = outcomes(finished)
    assert [found[number][0] for number in range(5)] == ["finished"] * 5
    stopped = [row for row in found.values() if row[0] == "stopped early"]
    assert stopped and all(5 < row[3] < 20 for row in stopped)
    best = max(row[1] for row in found.values() if row[0] == "finished")
    assert all(row[1] <= best for row in stopped)


def test_without_a_pruner_every_trial_is_trained_to_its_end(corpus: Path, tmp_path: Path) -> None:
    sweep(
        options_for(corpus, tmp_path / "out", trials=7, pruner="none", settings={**SETTINGS, "steps": "8"}),
        quiet=True,
    )
    assert [row[0] for row in outcomes(tmp_path / "out").values()] == ["finished"] * 7


def test_a_stopped_trial_is_gone_on_with_by_train(corpus: Path, finished: Path, tmp_path: Path) -> None:
    rows = json.loads((finished / "results.json").read_text())["trials"]
    row = next(row for row in rows if row["ended"] == "stopped early")
    settings = {**SETTINGS, "validate_every": "2", **row["settings"]}
    config = configure("hershey", data=corpus, settings=settings, device="cpu", threads=1)
    assert train(config, finished / row["run"], resume=True, quiet=True).name == "best"
    assert log_of(finished / row["run"])[-1]["step"] == 20


def test_the_table_has_every_trial_the_best_finished_one_first(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    text = (finished / "table.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [int(line.split("|")[1]) for line in lines] == [row["trial"] for row in results["trials"]]
    maps = [row["map"] for row in results["trials"] if row["ended"] == "finished"]
    assert maps == sorted(maps, reverse=True) and results["best"] == results["trials"][0]
    assert f"{maps[0]:.4f}" in lines[0] and "8 of 8 trials" in text
    for part in ("learning_rate in log:1e-5:1e-2", "sampler tpe, seed 0", "48 clips", "on 8 clips", "commit"):
        assert part in text, part


def test_a_sweep_on_mixed_scenes_is_headed_as_such(tmp_path: Path) -> None:
    data = make_corpus(tmp_path / "scenes", clips=12)
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["mixed_from"] = {"heading": "Scenes mixed from recordings of x", "fingerprint": "of x"}
    (data / "manifest.json").write_text(json.dumps(manifest))
    sweep(options_for(data, tmp_path / "out", trials=1, settings={**SETTINGS, "steps": "1"}), quiet=True)
    text = (tmp_path / "out/table.md").read_text()
    assert text.startswith("# Sweep (mixed from real recordings): 1 of 1 trials")
    assert "Mixed from real recordings: Scenes mixed from recordings of x." in text


def test_the_best_configuration_trains_to_the_same_map_by_file_and_by_words(
    corpus: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = json.loads((finished / "results.json").read_text())["best"]
    text = (finished / "table.md").read_text()
    words, short = text.split("```sh\n")[1].split("```")[0].splitlines()
    for number, line in enumerate((words, short)):
        run = tmp_path / str(number)
        arguments = [str(run) if word == "RUN" else word for word in line.split()[1:]]
        with pytest.raises(SystemExit) as done:
            main([*arguments, "--threads", "1", "--device", "cpu"])
        assert done.value.code == 0 and capsys.readouterr().out == f"{run}/best\n"
        maps = [entry["validation_map"] for entry in log_of(run) if "validation_map" in entry]
        assert max(maps) == best["map"]


def test_a_setting_counts_more_than_the_file_and_another_file_is_refused(
    finished: Path, tmp_path: Path
) -> None:
    recipe, settings = read_settings(finished / "best.json")
    assert recipe == "hershey" and settings["steps"] == "20"
    for text in ("[]", "{", '{"settings": 3}', '{"recipe": "x"}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match="x.json: expected"):
            read_settings(tmp_path / "x.json")


# --- kills, and company


@pytest.mark.parametrize("storage", ["", "journal:{out}/journal.log"])
def test_killed_in_a_trial_it_goes_on_from_the_checkpoint_to_the_same_table(
    corpus: Path, tmp_path: Path, storage: str
) -> None:
    settings = {**SETTINGS, "steps": "60"}
    whole = options_for(corpus, tmp_path / "whole", settings=settings, trials=7)
    broken = options_for(corpus, tmp_path / "broken", settings=settings, trials=7)
    broken = dataclasses.replace(broken, storage=storage.format(out=broken.out))
    sweep(whole, quiet=True)
    killed = []
    for number in (0, 2):
        process = start(broken)
        checkpoint = broken.out / f"trials/{number:04d}/checkpoint.pt"
        limit = time.monotonic() + LIMIT
        while process.poll() is None and not checkpoint.is_file():
            assert time.monotonic() < limit
            time.sleep(0.005)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if not (broken.out / f"trials/{number:04d}/last").is_dir():
            killed.append(number)
    assert killed
    sweep(broken, quiet=True)
    assert outcomes(broken.out) == outcomes(whole.out)
    for number in killed:
        starts = [entry["step"] for entry in log_of(broken.out / f"trials/{number:04d}") if "event" in entry]
        assert len(starts) == 2 and starts[0] == 0 < starts[1], "it began anew instead of going on"


def test_two_processes_share_the_trials_and_none_is_lost_or_doubled(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, tmp_path / "out", trials=10, settings={**SETTINGS, "steps": "40"})
    processes = [start(options) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, err
        assert out == f"{options.out}/table.md\n"
    trials = stored(options.out)
    assert [trial.number for trial in trials] == list(range(10))
    assert all(trial.state.is_finished() for trial in trials)
    assert len({trial.user_attrs["worker"] for trial in trials}) == 2
    assert len(outcomes(options.out)) == 10
    for trial in trials:
        starts = [e for e in log_of(options.out / f"trials/{trial.number:04d}") if e.get("event") == "start"]
        assert len(starts) == 1, "two processes worked on one trial"


def test_killed_before_its_values_were_chosen_a_trial_is_taken_up(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, tmp_path / "out", trials=3)
    sweep(dataclasses.replace(options, trials=1), quiet=True)
    storage = open_storage(f"sqlite:///{options.out}/sweep.db")
    place = json.loads((options.out / "place.json").read_text())["place"]
    begun = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs={"place": place})
    storage.create_new_trial(storage.get_study_id_from_name("sweep"), template_trial=begun)
    storage.remove_session()
    storage.engine.dispose()
    sweep(options, quiet=True)
    sweep(options_for(corpus, tmp_path / "whole", trials=3), quiet=True)
    assert outcomes(options.out) == outcomes(tmp_path / "whole")


def test_begun_anew_between_trials_the_sampler_draws_what_it_would_have_drawn(
    corpus: Path, tmp_path: Path
) -> None:
    settings = {**SETTINGS, "steps": "4"}
    whole = options_for(corpus, tmp_path / "whole", trials=14, settings=settings)
    parts = dataclasses.replace(whole, out=tmp_path / "parts")
    sweep(whole, quiet=True)
    for trials in (3, 12, 14):  # the first ten are drawn at random, those after by what the others gave
        sweep(dataclasses.replace(parts, trials=trials), quiet=True)
    assert outcomes(parts.out) == outcomes(whole.out)


def test_two_folders_on_one_storage_share_the_trials(corpus: Path, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/shared.db"
    one, two = (options_for(corpus, tmp_path / name, storage=storage) for name in ("one", "two"))
    sweep(dataclasses.replace(one, trials=2), quiet=True)
    sweep(two, quiet=True)
    assert [path.name for path in sorted((one.out / "trials").iterdir())] == ["0000", "0001"]
    assert [path.name for path in (two.out / "trials").iterdir()] == ["0002"]
    assert len(outcomes(two.out)) == 3


def test_a_trial_that_another_process_holds_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, tmp_path / "out", trials=2, settings={**SETTINGS, "steps": "3000"})
    process = start(options)
    limit = time.monotonic() + LIMIT
    while not (options.out / "trials/0000/checkpoint.pt").is_file():
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.01)
    short = dataclasses.replace(options, trials=1)  # all there are to be: nothing is left to take
    started = time.monotonic()
    results = sweep(short, quiet=True)
    assert process.poll() is None and time.monotonic() - started < LIMIT
    process.kill()
    process.communicate()
    assert results["counts"] == {"running": 1} and results["best"] is None


def test_more_trials_may_be_asked_for_later(corpus: Path, tmp_path: Path) -> None:
    sweep(options_for(corpus, tmp_path, trials=1), quiet=True)
    first = outcomes(tmp_path)
    sweep(options_for(corpus, tmp_path, trials=3), quiet=True)
    assert outcomes(tmp_path)[0] == first[0] and len(outcomes(tmp_path)) == 3


# --- samplers and presets


def test_a_grid_has_every_point_once(corpus: Path, tmp_path: Path) -> None:
    over = {"batch": "4,8", "model_arguments.layers": "1,2,3"}
    options = options_for(corpus, tmp_path, over=over, sampler="grid", trials=None, pruner="none")
    results = sweep(dataclasses.replace(options, settings={**SETTINGS, "steps": "2"}), quiet=True)
    points = {
        (row["settings"]["batch"], row["settings"]["model_arguments.layers"]) for row in results["trials"]
    }
    assert len(results["trials"]) == 6 and len(points) == 6 and results["asked_for"] == 6


def test_random_values_follow_the_seed(corpus: Path, tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = options_for(corpus, tmp_path / name, sampler="random", seed=seed, trials=2)
        sweep(dataclasses.replace(options, settings={**SETTINGS, "steps": "1"}), quiet=True)
        found.append([row[4]["learning_rate"] for row in outcomes(tmp_path / name).values()])
    assert found[0] == found[1] != found[2]
    assert found[0][0] != found[0][1], "every trial drew the same"
    assert all(1e-5 <= float(rate) <= 1e-2 for rates in found for rate in rates)


def test_the_number_of_steps_may_be_searched_and_decides_how_often_is_validated(
    corpus: Path, tmp_path: Path
) -> None:
    settings = {key: text for key, text in SETTINGS.items() if key not in ("steps", "checkpoint_every")}
    options = options_for(
        corpus, tmp_path, over={"steps": "20,40"}, settings=settings, sampler="grid", trials=None
    )
    results = sweep(options, quiet=True)
    assert sorted(row["steps"] for row in results["trials"]) == [20, 40]
    kept = read_settings(tmp_path / "best.json")[1]
    assert (kept["validate_every"], kept["checkpoint_every"]) == ("2", "1")


def test_the_papers_grid_is_a_preset() -> None:
    preset = PRESETS["hershey-fully-connected"]
    points = {
        (int(p["model_arguments.layers"]), int(p["model_arguments.units"]))
        for p in grid(parse_space(preset.over), 0)
    }
    assert points == {(n, m) for n in (2, 3, 4, 5, 6) for m in (500, 1000, 2000, 3000, 4000)}
    assert (preset.recipe, preset.settings["model"], preset.sampler) == ("hershey", "fully_connected", "grid")


def test_ranges_and_lists_are_read() -> None:
    space = parse_space({"a": "log:1e-5:1e-2", "b": "2:6", "c": "0.5:2", "d": "x, y"})
    assert space["a"] == Range(low=1e-5, high=1e-2, log=True)
    assert space["b"] == Range(low=2, high=6, whole=True) and space["c"] == Range(low=0.5, high=2)
    assert space["d"] == ("x", "y")
    assert len(examples(space)) == 5
    for value in (1e-5, 3e-5, 1.2345e-7, 0.1, 12345.678, 2e20):
        import yaml

        assert yaml.safe_load(as_setting(value)) == pytest.approx(value, rel=1e-3)


# --- what goes wrong


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"over": {}}, "nothing to vary"),
        ({"over": {"bacth": "4,8"}}, "unknown setting 'bacth'"),
        ({"over": {"batch": "4"}}, "at least two different values"),
        ({"over": {"batch": "8:4"}}, "LOW below HIGH"),
        ({"over": {"learning_rate": "log:0:1"}}, "begins above 0"),
        ({"over": {"batch": "4,many"}}, "setting 'batch' does not take 'many'"),
        ({"over": {"seed": "0,1"}}, "over seed: all trials share it"),
        ({"over": {"validation_splits": "train,test"}}, "all trials share it"),
        ({"over": {"steps": "10,20"}}, "over steps: is also set to 20"),
        ({"over": {"model_arguments.colour": "1,2"}}, "colour"),
        ({"sampler": "grid"}, "a grid needs values separated by commas"),
        ({"sampler": "best"}, "sampler is 'best'; known: tpe, random, grid"),
        ({"pruner": "best"}, "pruner is 'best'; known: median, none"),
        ({"trials": 0}, "trials is 0"),
        ({"recipe": "nonesuch"}, "unknown recipe"),
        ({"storage": "nonesuch://x:secret@host/y"}, "storage host/y: cannot be opened"),
        (
            {
                "settings": {key: text for key, text in SETTINGS.items() if key != "validation_splits"}
                | {"validation_fraction": "0"}
            },
            "no clip to validate on",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(
    corpus: Path, tmp_path: Path, changes: dict, said: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=said) as caught:
        sweep(options_for(corpus, tmp_path / "out", **changes), quiet=True)
    assert not (tmp_path / "out" / "trials").exists() and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": {**SETTINGS, "steps": "10"}}, "was begun with settings"),
        ({"over": {"batch": "4,8"}}, "was begun with over"),
        ({"sampler": "random"}, "was begun with sampler tpe, and random is asked for"),
        ({"seed": 5}, "was begun with seed 0, and 5"),
    ],
)
def test_trials_that_would_not_compare_are_refused(
    corpus: Path, finished: Path, changes: dict, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        sweep(options_for(corpus, finished, trials=99, **changes), quiet=True)
    assert len(stored(finished)) == 8


def test_a_trial_that_diverges_is_a_poor_one_and_the_sweep_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge_first(config, out, **rest):  # type: ignore[no-untyped-def]
        if out.name == "0000":
            raise Diverged("the loss is nan")
        return train(config, out, **rest)

    monkeypatch.setattr(MODULE, "train", diverge_first)
    results = sweep(options_for(corpus, tmp_path, trials=2), quiet=True)
    assert [(row["trial"], row["ended"]) for row in results["trials"]] == [(1, "finished"), (0, "diverged")]
    assert stored(tmp_path)[0].state == optuna.trial.TrialState.PRUNED


def test_a_loss_that_is_no_number_is_told_apart(corpus: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "learning_rate": "1e30", "optimizer": "adam"}
    with pytest.raises(Diverged, match="lower learning_rate"):
        train(
            configure("hershey", data=corpus, settings=settings, device="cpu"), tmp_path / "run", quiet=True
        )


def test_values_that_do_not_go_together_are_a_failed_trial_with_its_reason(
    corpus: Path, tmp_path: Path
) -> None:
    over = {"batch": "4,16", "accumulate": "1,8"}
    options = options_for(corpus, tmp_path, over=over, sampler="grid", trials=None)
    with pytest.raises(ValueError, match="accumulate is 8, more parts than the 4 of a batch"):
        sweep(options, quiet=True)  # seen before anything is trained, where one value alone shows it
    over = {"batch": "16,4", "accumulate": "1,8"}
    options = dataclasses.replace(options, over=over, settings={**SETTINGS, "steps": "2"})
    results = sweep(options, quiet=True)
    failed = [row for row in results["trials"] if row["ended"].startswith("failed")]
    assert results["counts"] == {"finished": 3, "failed": 1} and "accumulate is 8" in failed[0]["ended"]


def test_any_other_error_leaves_the_trial_to_be_gone_on_with(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "train", full_disk)
        with pytest.raises(OSError, match="No space left"):
            sweep(options_for(corpus, tmp_path), quiet=True)
    sweep(options_for(corpus, tmp_path), quiet=True)
    assert [row[0] for row in outcomes(tmp_path).values()] == ["finished"] * 3


def test_without_optuna_it_says_what_to_install(corpus: Path, tmp_path: Path) -> None:
    block = "import sys; sys.modules['optuna'] = None\nfrom auricle.cli import main\nmain(sys.argv[1:])"
    words = command_for(options_for(corpus, tmp_path / "out"))
    words = [sys.executable, "-c", block, *words[words.index("sweep") :]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    said = "auricle: error: this needs optuna, which is not installed: pip install 'auricle[sweep]'"
    assert done.stderr.splitlines() == [said]


# --- what train() offers for it


def test_what_is_called_after_validation_sees_the_figures_of_the_log(corpus: Path, tmp_path: Path) -> None:
    config = configure("hershey", data=corpus, settings={**SETTINGS, "validate_every": "8"}, device="cpu")
    seen = []
    train(config, tmp_path / "run", quiet=True, on_validation=lambda *given: seen.append(given))
    logged = [(e["step"], e["validation_map"]) for e in log_of(tmp_path / "run") if "validation_map" in e]
    assert [(step, figures["map"]) for step, _, figures in seen] == logged
    assert [(step, steps) for step, steps, _ in seen] == [(8, 20), (16, 20), (20, 20)]
    assert all(math.isfinite(figures["map"]) for _, _, figures in seen)


def test_a_run_stopped_after_validation_ends_as_one_never_stopped(corpus: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, steps: int, figures: object) -> None:
        raise Stop

    config = configure("hershey", data=corpus, settings={**SETTINGS, "validate_every": "8"}, device="cpu")
    with pytest.raises(Stop):
        train(config, tmp_path / "run", quiet=True, on_validation=stop)
    assert not (tmp_path / "run/last").exists()
    train(config, tmp_path / "run", resume=True, quiet=True)
    train(config, tmp_path / "whole", quiet=True)
    one, two = (
        [(e["step"], e["loss"]) for e in log_of(tmp_path / name) if "loss" in e] for name in ("run", "whole")
    )
    assert one == two
