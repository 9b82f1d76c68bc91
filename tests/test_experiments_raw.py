"""Raw waveforms stand beside log-mels and embeddings, larger beside smaller outputs and batches."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from mixing import make_mixtures, mixing_options
from test_experiments import make_corpus, options_for

from auricle.artifact import load_artifact
from auricle.embedding import embed_pack
from auricle.experiments import compare
from auricle.experiments.options import base_config
from auricle.experiments.raw_waveform import HEADS, LOGMEL, LOGMEL_MIXED, MIXED, PLAIN, raw_waveform
from auricle.shards import Pack
from auricle.training import train

SIZES = (
    "raw_waveform with mix-training, stride 128, batch 3",
    "raw_waveform with mix-training, stride 64, batch 3",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with an embedding set "tiny", of a network that is almost untrained."""
    folder = tmp_path_factory.mktemp("tones")
    data = make_corpus(folder)
    torch.set_num_threads(1)
    options = options_for(data, folder / "out", steps=1)
    train(base_config(options, "resnet50"), folder / "embedder", quiet=True)
    embed_pack(data, folder / "embedder/last", name="tiny", threads=1, quiet=True)
    return data


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_rows_of_both_tables_differ_in_what_they_are_of(corpus: Path) -> None:
    options = mixing_options(corpus, Path("x"), embeddings=("tiny",))
    plan = raw_waveform(options)
    runs = {run.row: run for run in plan.runs}
    assert tuple(runs) == (
        LOGMEL, LOGMEL_MIXED, *(f"tiny, {head}" for head in HEADS), PLAIN, MIXED, *SIZES
    )  # fmt: skip
    for run in plan.runs:
        assert (run.config.steps, run.config.finetune_steps, run.config.balance) == (4, 2, "classes")
        mixing = "mix_training" if "with mix-training" in run.row else "none"
        assert (run.config.mixing, run.config.finetune_mixing) == (mixing, "none")
    assert runs[LOGMEL].config.window == runs[LOGMEL_MIXED].config.window == 15600
    assert runs[MIXED].config.window == 4096
    sizes = {row: (run.columns["output"], run.config.batch) for row, run in runs.items() if "raw" in row}
    assert sizes == {
        PLAIN: ("8 x 64", 4), MIXED: ("8 x 64", 4), SIZES[0]: ("8 x 32", 3), SIZES[1]: ("8 x 64", 3)
    }  # fmt: skip
    attention = runs["tiny, multi_attention"]
    assert attention.columns["input"] == f"2 x {Pack(corpus).embeddings('tiny').values.shape[1]} embeddings"
    assert attention.columns["pre-trained"] == Pack(corpus).embeddings("tiny").about["model"]
    assert (attention.config.embeddings, attention.config.embedding_windows) == ("tiny", 2)
    assert {run.columns["pre-trained"] for row, run in runs.items() if "tiny" not in row} == {"no"}


def test_the_papers_size_is_the_usual_one(corpus: Path) -> None:
    options = mixing_options(corpus, Path("x"), settings={}, model_settings={}, width=1.0, batch=256)
    runs = {run.row: run for run in raw_waveform(options).runs}
    assert runs[MIXED].columns["output"] == "128 x 2500" and runs[MIXED].config.batch == 256
    smaller = runs["raw_waveform with mix-training, stride 128, batch 192"]
    assert smaller.columns["output"] == "128 x 1250" and smaller.config.batch == 192
    assert runs[MIXED].columns["input"] == "waveform, 10 s"


def test_claims_hold_the_rows_of_the_paper_against_each_other(corpus: Path) -> None:
    plan = raw_waveform(mixing_options(corpus, Path("x"), embeddings=("tiny",)))
    assert [claim.pairs for claim in plan.claims] == [  # type: ignore[union-attr]
        ((MIXED, PLAIN),),
        ((SIZES[1], SIZES[0]),),
        ((MIXED, SIZES[1]),),
        ((MIXED, "tiny, single_attention"), (MIXED, "tiny, multi_attention")),
        ((PLAIN, LOGMEL), (MIXED, LOGMEL_MIXED)),  # like with like
    ]
    papers = {run.row: run.paper for run in plan.runs if run.paper}
    assert set(papers) == {run.row for run in plan.runs} - {LOGMEL_MIXED}
    assert plan.claims[2].figure == "d_prime"  # by mAP, the paper's batches of 192 and 256 are equal
    for claim in plan.claims:
        for one, two in claim.pairs:  # type: ignore[union-attr]
            if two in papers:  # the paper's own figures bear its claims out
                assert papers[one][claim.figure] > papers[two][claim.figure]


def test_rows_may_be_left_out_and_the_papers_stand_alone_there(corpus: Path) -> None:
    plan = raw_waveform(mixing_options(corpus, Path("x"), models=("raw_waveform",)))
    assert [run.row for run in plan.runs] == [PLAIN, MIXED, *SIZES]
    assert [row for row, _ in plan.paper_only] == [LOGMEL, *(f"embeddings, {head}" for head in HEADS)]
    options = mixing_options(corpus, Path("x"), models=("resnet50",), settings={}, model_settings={})
    plan = raw_waveform(options)
    assert [run.row for run in plan.runs] == [LOGMEL, LOGMEL_MIXED] and len(plan.paper_only) == 6
    assert plan.paper_only[-1][0] == "raw_waveform, stride 64, batch 192"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": ("vgg",)}, "'vgg' has no row in these tables; those that have: resnet50, single_att"),
        ({"embeddings": ("nosuch",)}, "nosuch"),
        ({"embeddings": ("tiny",), "models": ("raw_waveform",)}, "--models leaves out"),
        ({"settings": {"model_arguments.stride": "64"}}, "--set model_arguments.stride: rows differ in it"),
    ],
)
def test_what_has_no_row_is_refused(corpus: Path, change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        raw_waveform(mixing_options(corpus, Path("x"), **change))


def test_all_rows_are_trained_and_judged_on_clips_and_scenes(corpus: Path, tmp_path: Path) -> None:
    scenes = make_mixtures(corpus, tmp_path / "scenes", scenes=6)
    options = mixing_options(
        corpus, tmp_path / "out", embeddings=("tiny",), mixtures=scenes, steps=2, finetune_steps=1
    )
    rows = compare("raw-waveform", options, quiet=True)
    assert len(rows) == 8
    for row in rows:
        assert row["figures"]["clips"] == row["before"]["figures"]["clips"] == 16
        assert row["mixtures"]["figures"]["clips"] == 6
        assert row["figures"]["clips_in_training"] == row["mixtures"]["figures"]["clips_in_training"] == 0
    arguments = load_artifact(tmp_path / "out/runs" / rows[6]["name"] / "last").architecture["arguments"]
    assert arguments["stride"] == 128 and arguments["bands"] == 8
    text = (tmp_path / "out/table.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith(f"| {MIXED} |"))
    assert f"| {MIXED} | waveform, 0.256 s | no | 8 x 64 | 4 | " in line
    assert "| 0.968 | 2.614 | 0.372 |" in line and "| 24 | 2 + 1 |" in line and line.endswith("| 256 | no |")
    line = next(line for line in text.splitlines() if line.startswith("| tiny, multi_attention |"))
    assert "| 0.970 | 2.660 | 0.360 |" in line and line.endswith("|  | YouTube-100M |")
    assert "paper only" not in text and "these were trained elsewhere" in text
    assert "others' systems, pre-trained on YouTube-100M and not mixed" in text
    assert "has seen fewer clips: three quarters" in text
    assert "(at equal steps: the smaller one saw three quarters of the clips)." in text
    line = next(line for line in text.splitlines() if line.startswith(f"| {LOGMEL_MIXED} |"))
    assert line.startswith(f"| {LOGMEL_MIXED} | log-mel, 0.975 s | no |  | 4 | ") and line.endswith("|  |  |")
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert len(results["verdicts"]) == len(results["verdicts_on_mixtures"]) == 5
    again = compare("raw-waveform", options, quiet=True)
    assert again == rows
    more = dataclasses.replace(options, models=("raw_waveform",), embeddings=())
    assert len(compare("raw-waveform", more, quiet=True)) == 4
