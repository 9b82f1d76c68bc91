"""The model card: README.md of a model, made from its description."""

from typing import Any

from auricle.artifact.card_robustness import robustness_sections
from auricle.artifact.card_unknown import unknown_sections
from auricle.pooling import POOLINGS, pooling_of
from auricle.text import counted
from auricle.thresholds import threshold_text


def model_card(artifact: Any) -> str:
    """README.md of a model, from its description."""
    rate = artifact.rate
    lines = [f"# {artifact.name}", "", "Made by auricle from model.json, which is what counts.", ""]
    rows = {
        "backend": artifact.backend,
        "architecture": artifact.architecture.get("name", "-"),
        "input": " and ".join(_input(entry) for entry in artifact.inputs),
        "window": f"{artifact.window / rate:g} s every {artifact.hop / rate:g} s, tail: {artifact.tail}",
        "a recording's score": f"the {POOLINGS[pooling_of(artifact)]} of its windows' scores",
        "labels": str(artifact.num_classes),
        "embedding": f"{artifact.embedding_size} values",
        "licence of the weights": artifact.licence or "not stated",
    }
    lines += ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows.items()), ""]
    if artifact.members:
        lines += [*_family(artifact), ""]
    if artifact.notes:
        lines += [artifact.notes.strip(), ""]
    plain = {name: value for name, value in artifact.metrics.items() if not isinstance(value, (dict, list))}
    if plain:
        lines += ["## Measured", "", "| metric | value |", "|---|---|"]
        lines += [*(f"| {name} | {_cell(value)} |" for name, value in plain.items()), ""]
    per_class = artifact.metrics.get("per_class")
    if isinstance(per_class, dict) and per_class:
        columns = sorted({column for row in per_class.values() for column in row})
        lines += ["## By class", "", f"| label | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for label, row in per_class.items():
            lines.append(
                f"| {_cell(label)} | {' | '.join(_cell(row.get(column, '')) for column in columns)} |"
            )
        lines.append("")
    if isinstance(about := artifact.metrics.get("calibration"), dict):
        lines += [*_calibration(about), ""]
    if isinstance(about := artifact.metrics.get("robustness"), dict):
        lines += [*robustness_sections(about), ""]
    if isinstance(about := artifact.metrics.get("unknown_sounds"), dict):
        lines += [*unknown_sections(about), ""]
    plain = {name: value for name, value in artifact.training.items() if not isinstance(value, (dict, list))}
    if plain:
        lines += ["## Training", "", "| | |", "|---|---|"]
        lines += [*(f"| {name} | {_cell(value)} |" for name, value in plain.items()), ""]
    if artifact.labels:
        lines += ["## Labels", "", ", ".join(artifact.labels), ""]
    if artifact.attachments:
        lines += ["## Further files", "", *(f"- `{name}`" for name in artifact.attachments), ""]
    return "\n".join(lines)


def _thresholds_of_unknown(about: dict[str, Any]) -> str:
    """How `auricle.recipes.quiet` chose."""
    ends = f"from {about.get('least', 0.0):g} on"
    if (greatest := about.get("greatest", 2.0)) <= 1:
        ends += f" and never above {greatest:g}"
    kinds = "".join(f" ({kind}: {rate:g})" for kind, rate in about.get("of_kinds", {}).items())
    return (
        f"Each label has the lowest threshold, {ends}, that at most {about['of_unknown']:g} windows an hour "
        f"reach, of each kind of unknown sound{kinds}, and at most {about['of_corpus']:g} of clips without "
        "the label. Which of these asked for the highest decided; the number is how many do reach it. Held "
        "is what one of the two ends stopped:"
    )


def _calibration(about: dict[str, Any]) -> list[str]:
    """What scores were fitted to, how good they are, and the thresholds."""
    scores_changed = "before" in about or "by" not in about
    lines = ["## Calibration" if scores_changed else "## Thresholds", ""]
    clips = f"{counted(about['clips'], 'clip')} of {counted(about['recordings'], 'recording')} of the pack "
    clips += _cell(about["pack"])
    verb = "`auricle calibrate`"
    if "out_of_fold" in about:
        verb, clips = "`auricle train --calibrate`", f"scores out of {about['out_of_fold']} folds of {clips}"
    lines.append(f"By {about.get('by', verb)}, method {about['method']}, on {clips}.")
    if scores_changed:
        lines.append("Scores are probabilities where labels are as frequent as in these.")
    if "before" in about:
        before = "before, fitted to some of these clips" if about.get("before_fitted_to") else "before"
        lines += ["", f"| | {before} | after, on recordings not fitted to |", "|---|---|---|"]
        lines += [
            f"| {name} | {_cell(value)} | {_cell(about['after'][name])} |"
            for name, value in about["before"].items()
        ]
    if "goal" in about:
        kind, value = next(iter(about["goal"].items()))
        an_hour = " an hour" if kind == "false_alarms" else ""
        what = f"Thresholds for {kind.replace('_', ' ')} {value:g}{an_hour}:"
        if "of_unknown" in about:
            what = _thresholds_of_unknown(about)
        lines += ["", what, ""]
        rows = [
            (
                label,
                threshold_text(row["threshold"]),
                " to ".join(map(threshold_text, row.get("interval") or ())),
                "" if row.get("measured") is None else _cell(row["measured"]),
                row.get("of", ""),
            )
            for label, row in about["thresholds"].items()
        ]
        heads = ("label", "threshold", "95% interval", f"reached{an_hour}", "decided by")
        told = [k for k in range(len(heads)) if k < 2 or any(row[k] for row in rows)]
        lines += [f"| {' | '.join(heads[k] for k in told)} |", "|---" * len(told) + "|"]
        lines += [f"| {' | '.join(_cell(row[k]) for k in told)} |" for row in rows]
    return lines


def _input(entry: dict[str, Any]) -> str:
    text = f"{entry['kind']} at {entry['rate']} Hz"
    if entry["kind"] == "embedding":
        text += f", {entry['windows']} x {entry['size']} values, by the model in the folder embedder"
    return text


def _family(artifact: Any) -> list[str]:
    """The members of a family, and what each is asked."""
    rest = {"zero": "scores nothing", "top": "scores what the member on top gives"}[artifact.unasked]
    lines = ["## Members", "", "| member | asked | fingerprint |", "|---|---|---|"]
    for name, fingerprint in artifact.members.items():
        gates = [label for label, member in artifact.gates.items() if member == name]
        asked = f"what is below {', '.join(gates)}" if gates else "always: the member on top"
        lines.append(f"| {_cell(name)} | {_cell(asked)} | `{fingerprint[:12]}` |")
    found = "A member is asked where its label is the most likely of its siblings, or scores over 0.5."
    return [*lines, "", f"{found} A label that nobody is asked for {rest}."]


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
