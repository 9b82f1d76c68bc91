"""`auricle evaluate --events`, and verb events: choose how scores become events, and store it in a model."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.options import Window
from auricle.cli.output import assignments, print_table, print_warning, refuse_file
from auricle.cli.urban import options_given, refuse_options
from auricle.remote import address_of
from auricle.text import counted

if TYPE_CHECKING:
    from auricle.events import EventConfig
    from auricle.formats.reading import Annotated as Events

NEVER = ("pooling", "class_share", "half", "protocol")
OF_A_MODEL = (
    "model",
    "pack",
    "split",
    "where",
    "subset",
    "set",
    "label_set",
    "label_map",
    "threads",
    "window",
)


class Kind(StrEnum):
    """What the choice goes by."""

    segments = "segments"
    events = "events"


def chosen_config(model: Any, settings: list[str] | None) -> "EventConfig":
    """The settings of a loaded model, with those that were typed.

    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(events=None, thresholds=None, labels=("dog",))
    >>> chosen_config(model, ["dog.onset=0.7"]).of("dog").onset
    0.7
    """
    from auricle.events import events_of

    return _with_typed(events_of(model), settings or [], model.labels)


def _with_typed(config: "EventConfig", settings: list[str], labels: Sequence[str]) -> "EventConfig":
    from auricle.events import config_with, event_config

    try:
        changed = config_with(config, assignments(settings, "--set"), labels)
        return event_config(changed.as_dict(), labels)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--set") from error


def evaluate_events(context: typer.Context) -> None:
    """Judge what the command line of `evaluate --events` names, print and write it."""
    from auricle.artifact import load_artifact
    from auricle.cli.corpora import require_model, warn_of_training
    from auricle.evaluation.events import DRAWS, Tolerances
    from auricle.evaluation.events import evaluate_events as evaluate_model
    from auricle.evaluation.mapped import MappedArtifact

    asked = context.params
    refuse_options(options_given(context), (*NEVER, "taxonomy", "level"), "has no effect with --events")
    refuse_file(asked["out"])
    tolerances = Tolerances()
    if asked["collar"] is not None:
        tolerances = Tolerances(onset_collar=asked["collar"], offset_collar=asked["collar"])
    if asked["segment"] is not None:
        tolerances = Tolerances(**vars(tolerances) | {"segment": asked["segment"]})
    drawn = {"draws": DRAWS if asked["draws"] is None else asked["draws"], "seed": asked["seed"]}
    if asked["predictions"] is not None:
        _evaluate_found(context, tolerances, drawn)
        return
    model, pack = require_model(asked["model"], asked["pack"], "MODEL and PACK")
    chosen = assignments(asked["where"] or [], "--where")
    artifact = load_artifact(model)
    typed = [] if asked["window"] is None else [f"window={asked['window']:g}"]
    settings = [*(asked["set"] or []), *typed]
    mapped = artifact if asked["label_map"] is None else MappedArtifact(artifact, asked["label_map"])
    source, annotations = _source(pack, asked["annotations"], artifact)
    if annotations is not None:
        refuse_options(options_given(context), ("label_set",), "has no effect with --annotations")
    figures = evaluate_model(
        artifact,
        source,
        splits=tuple(asked["split"]) if asked["split"] else None,
        where={key: tuple(value.split(",")) for key, value in chosen.items()} or None,
        subset=asked["subset"],
        config=chosen_config(mapped, settings),
        tolerances=tolerances,
        out=asked["out"],
        label_set=asked["label_set"] or "labels",
        label_map=asked["label_map"],
        threads=asked["threads"],
        annotations=annotations,
        **drawn,
    )
    warn_of_training(model, figures)
    _show(figures, asked["format"])


def _evaluate_found(context: typer.Context, tolerances: Any, drawn: dict[str, int]) -> None:
    """Judge one file of events by another."""
    from auricle.evaluation.found_events import evaluate_found

    asked = context.params
    refuse_options(options_given(context), OF_A_MODEL, "has no effect with --predictions, which were found")
    if asked["annotations"] is None:
        raise typer.BadParameter("give what is truly heard, too: --annotations", param_hint="--predictions")
    truth, found = read_annotations(asked["annotations"]), read_annotations(asked["predictions"])
    figures = evaluate_found(truth, found, tolerances=tolerances, out=asked["out"], **drawn)
    if missing := figures["clips_not_predicted"]:
        print_warning(
            "recordings of the annotations that the predictions do not name: "
            f"{missing} of {figures['clips']}; "
            "they count as without events found; where none were looked for, "
            "leave them out of the annotations"
        )
    _show(figures, asked["format"])


def read_annotations(file: Path) -> "Events":
    """The events of a file or folder; rows that nobody has answered are warned of.

    >>> read_annotations(Path("truth.csv")).labels  # doctest: +SKIP
    ['dog', 'siren']
    """
    from auricle.formats.reading import read_events

    found = read_events([file])
    for said in found.left_out:
        print_warning(f"{file}: {said}")
    return found


def _source(pack: Path, annotations: Path | None, artifact: Any) -> tuple[Any, "Events | None"]:
    """What is judged on: a pack, or with annotations recordings; and the annotations."""
    from auricle.evaluation.recordings import Recordings

    if annotations is None:
        return pack, None
    found = read_annotations(annotations)
    if address_of(pack) is not None or (pack / "manifest.json").is_file():
        return pack, found
    return Recordings(pack, artifact.rate), found


def _show(figures: dict[str, Any], format: str) -> None:
    if format == "json":
        print(json.dumps(figures, indent=2, ensure_ascii=False))
    else:
        _print(figures)


def events(
    model: Annotated[
        str, typer.Argument(help="A bundled model's name, an artifact's folder, an .onnx file.")
    ],
    pack: Annotated[
        Path | None,
        typer.Argument(
            help="A pack of auricle scenes, to choose on, or recordings with --annotations; without, --set "
            "says all."
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR", help="What is truly heard in PACK, or in recordings: a file of events."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Store the settings in a copy of the model; without, print them."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Choose on this split, no test split; may be given again."),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds from window to window.", show_default="the model's"),
    ] = None,
    window: Window = None,
    by: Annotated[Kind, typer.Option(help="Whose macro F1 is to be best.")] = Kind.segments,
    collar: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="S", help="Of --by events: seconds early or late.", show_default="0.2"),
    ] = None,
    per_label: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Labels with N events get an onset of their own; 0: none."),
    ] = 20,
    clips: Annotated[int, typer.Option(min=1, metavar="N", help="Choose on N clips at most.")] = 500,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the draw of these clips.")] = 0,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="A setting, say onset=0.4, or of one label, dog.onset=0.6; may be given again; goes before "
            "what is chosen.",
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads for scoring.")] = None,
) -> None:
    """Choose how scores become events; store it in a new model.

    Tried where the truth is known, on scenes or on recordings whose events somebody wrote down: smoothing,
    the two thresholds, gaps, lengths, and an onset for each label that has events enough. `auricle tag
    --events` and `auricle evaluate --events` go by what is stored.
    """
    from auricle.artifact import load_artifact, save_changed
    from auricle.evaluation.lines import hop_samples
    from auricle.probabilities import of_events, of_window
    from auricle.runners.lengths import with_window

    artifact = load_artifact(model)
    if out is not None:
        refuse_file(out)
        _refuse_other(out, artifact)
    about: dict[str, Any] = {}
    if pack is None:
        if annotations is not None:
            raise typer.BadParameter("is of a PACK or of recordings: name them", param_hint="--annotations")
        typed = [
            f"{name}={value:g}" for name, value in (("hop", hop), ("window", window)) if value is not None
        ]
        if not set and not typed:
            raise typer.BadParameter("give a PACK to choose on, or settings with --set", param_hint="PACK")
        config = chosen_config(artifact, [*(set or []), *typed])
        with_window(artifact, config.window)
        hop_samples(artifact, config)
    else:
        config, about = _choose(
            artifact, pack, annotations, split, hop, window, by, collar, per_label, clips, seed, threads
        )
        _warn_of_training(model, about)
        if set:
            config = _with_typed(config, set, artifact.labels)
    _print_settings(config, about)
    new = dataclasses.replace(artifact, events=None)  # the settings are of the windows that they say
    if said := of_window(new, config.window, config=config) or of_events(artifact, config):
        print_warning(said)
    if out is not None:
        metrics = artifact.metrics | ({"events": about} if about else {})
        saved = save_changed(artifact, out, name=out.name, events=config.as_dict(), metrics=metrics)
        print(f"{saved.path}: {artifact.name} with these settings")


def _warn_of_training(model: str, about: dict[str, Any]) -> None:
    from auricle.evaluation.heard import untold_in_words

    if trained := about["clips_in_training"]:
        clips = counted(about["chosen_on"]["clips"], "clip")
        print_warning(
            f"{model} was trained on {trained:,} of these {clips}, or on some of them: settings for "
            "sounds that it knows by heart do not suit others; choose a --split that it was not trained on"
        )
    if untold := untold_in_words(about["training_not_told"]):
        print_warning(untold)


def _refuse_other(out: Path, artifact: Any) -> None:
    """Say at once that settings are not stored over another model: the same network's copies are renewed.

    Raises:
        ValueError: a model is there that answers the check's sounds otherwise, or has other labels.
    """
    from auricle.artifact import load_artifact

    if not (out / "model.json").is_file():  # what else is there is refused when it is written
        return
    there = load_artifact(out)
    ours, theirs = (model.read_check()[:2] for model in (artifact, there))
    same = all(a.shape == b.shape and (a == b).all() for a, b in zip(ours, theirs, strict=True))
    if not same or there.labels != artifact.labels:
        raise ValueError(
            f"{out}: is there already, and another model; one with settings is a new one, name a new folder"
        )


def _choose(
    artifact: Any,
    pack: Path,
    annotations: Path | None,
    split: list[str] | None,
    hop: float | None,
    window: float | None,
    by: Kind,
    collar: float | None,
    per_label: int,
    clips: int,
    seed: int,
    threads: int | None,
) -> tuple["EventConfig", dict[str, Any]]:
    from auricle.evaluation.event_choice import choose_events
    from auricle.evaluation.events import Tolerances

    wide = Tolerances() if collar is None else Tolerances(onset_collar=collar, offset_collar=collar)
    source, truth = _source(pack, annotations, artifact)
    return choose_events(
        artifact,
        source,
        annotations=truth,
        splits=tuple(split) if split else None,
        hop=hop,
        window=window,
        by=by.value,
        tolerances=wide,
        per_label=per_label or None,
        clips=clips,
        seed=seed,
        threads=threads,
    )


def _print_settings(config: "EventConfig", about: dict[str, Any]) -> None:
    settings = {name: value for name, value in config.as_dict().items() if name != "labels"}
    rows = [[name, "none" if value is None else f"{value:g}"] for name, value in settings.items()]
    print_table(sys.stdout, ["setting", "value>"], rows)
    alike: dict[str, list[str]] = {}
    for label, own in config.labels.items():
        text = ", ".join(f"{name} {'none' if value is None else f'{value:g}'}" for name, value in own.items())
        alike.setdefault(text, []).append(label)
    for text, labels in alike.items():
        print(f"{text}: {', '.join([*labels[:8], *['...'] * (len(labels) > 8)])} ({len(labels)})")
    if about:
        of, f1, before = about["by"], about["f1_macro"], about["f1_macro_before"]
        clips = counted(about["chosen_on"]["clips"], "clip")
        print(f"macro F1 of {of} on {clips}: {f1:.4f}, before {before:.4f}")
        print("on other clips it will be lower: judge the settings there, with auricle evaluate --events")


def _print(figures: dict[str, Any]) -> None:
    intervals, rows = figures.get("intervals", {}), []
    level = f"{100 * figures['interval_level']:g}% interval" if intervals else ""
    for kind in ("segments", "events"):
        for name in ("f1", "precision", "recall"):
            pair = [figures[kind][f"{name}_{mean}"] for mean in ("macro", "micro")]
            ends = [intervals.get(f"{kind}_{name}_{mean}") for mean in ("macro", "micro")]
            rows.append([f"{kind}: {name}"])
            for value, end in zip(pair, ends, strict=True):
                rows[-1].append("not defined" if value is None else f"{value:.4f}")
                rows[-1].append("" if not end or end[0] is None else f"{end[0]:.4f} to {end[1]:.4f}")
    for name in ("psds1", "psds2"):
        rows.append([name, "not defined" if figures[name] is None else f"{figures[name]:.4f}", "", "", ""])
    heads = ["figure", "macro>", level, "micro>", level]
    print_table(sys.stdout, heads, rows, title=figures["mixed_from"] or "")
    about = [figures[name] for name in ("true_events", "found_events", "clips", "groups", "classes")]
    print("{} true and {} found events, {} clips of {} groups, {} classes".format(*about))
    if mapped := figures.get("label_map"):
        print(f"labels by the map {mapped['name']}")
    if any(None in ends for ends in intervals.values()):
        print("no interval where draws of the groups all give the same figure")
    tolerances = figures["tolerances"]
    of = f" of {figures['window_seconds']:g} s" if figures.get("settings", {}).get("window") else ""
    every = f"; a window{of} every {figures['hop_seconds']:g} s" if "hop_seconds" in figures else ""
    print(
        f"segments of {tolerances['segment']:g} s; events may begin {tolerances['onset_collar']:g} s early "
        f"or late{every}"
    )
    of_what = "annotations" if "clips_not_annotated" in figures else "pack"
    for name, what in (
        ("classes_without_events", "labels without a true event, left out of macro figures and PSDS"),
        ("labels_not_in_model", f"labels of the {of_what} that the model lacks, left out"),
        (
            "labels_not_in_pack",
            f"labels of the model that the {of_what} lack{'s' * (of_what == 'pack')}, left out",
        ),
        ("labels_not_in_annotations", "labels found that the annotations lack, left out"),
        ("annotated_not_there", "recordings of the annotations that are not there, left out"),
    ):
        if left := figures.get(name):
            print(f"{what}: {len(left)}: {', '.join([*left[:5], *['...'] * (len(left) > 5)])}")
    if left := figures.get("clips_not_annotated"):
        print(f"recordings that the annotations do not name, left out: {left}")
