"""The section of a model card that says how quiet the model stays on sounds that it does not know."""

from collections.abc import Mapping
from typing import Any

from auricle.text import counted


def unknown_sections(about: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown: Unknown sounds.

    Args:
        about: what `benchmarks/unknown_sounds.py --card` measures; it stands under "unknown_sounds" in a
            model's metrics.

    >>> hum = {"hours": 0.5, "false_alarms": 2.0, "labels": {"engine": 2.0}}
    >>> print(unknown_sections({"sounds": 90, "kinds": {"hum": hum}, "false_alarms": 2.0})[-1])
    | hum | 0.50 | 2.0 | engine 2.0 |
    """
    hours = sum(kind["hours"] for kind in about["kinds"].values())
    lines = ["## Unknown sounds", ""]
    lines.append(
        f"False alarms an hour of {counted(about['sounds'], 'sound')} without any label ({hours:.1f} hours), "
        "by which no threshold was set: events as `auricle events` finds them, at the model's own "
        f"thresholds and windows. The mean of the kinds is {about['false_alarms']:.1f}."
    )
    lines += ["", "| sound | hours | false alarms/h | labels, by the hour |", "|---|---|---|---|"]
    for name, kind in about["kinds"].items():
        named = ", ".join(f"{label} {rate:.1f}" for label, rate in kind["labels"].items())
        lines.append(f"| {name} | {kind['hours']:.2f} | {kind['false_alarms']:.1f} | {named} |")
    if "recall" in about:
        lines.append("")
        lines.append(
            f"Of clips that models of the same recipe had not heard, these thresholds show "
            f"{about['recall']:.3f} of the labels that are there, and {about['precision']:.3f} of what they "
            "show is right."
        )
    return lines
