"""Two-level taxonomies: coarse classes and their fine ones, as the urban sound tagging challenge has them.

- A label is named as its column: fine "1-2_medium-sounding-engine", coarse "1_engine": ids, then the name.
- A fine label whose id is X says "something of this coarse class, which one is not known".
- Labels stand in one order everywhere: the fine ones in the taxonomy's order, X last of its class, then the
  coarse ones.

Source: Cartwright et al. 2019, "SONYC Urban Sound Tagging", section 3, and its file of the taxonomy.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle.tables import read_text_table

UNKNOWN = "X"
PRESENCE = "_presence"  # what the names of columns with votes end in
_COARSE = re.compile(r"(?P<coarse>[^\W_]+)_(?P<name>\S.*)")
_FINE = re.compile(r"(?P<coarse>[^\W_]+)-(?P<fine>[^\W_]+)_(?P<name>\S.*)")


@dataclass(frozen=True)
class Taxonomy:
    """Coarse classes and their fine ones, by the names of their columns.

    Args:
        coarse: names of the coarse classes.
        fine: for each coarse class the names of its fine ones; X last, where there is one.

    Raises:
        ValueError: a name of another form, one that comes twice, a coarse class without a fine one; X that is
            not the last.

    >>> dogs = Taxonomy(("1_engine", "2_dog"), (("1-1_small", "1-X_unclear"), ("2-1_barking",)))
    >>> dogs.labels
    ('1-1_small', '1-X_unclear', '2-1_barking', '1_engine', '2_dog')
    """

    coarse: tuple[str, ...]
    fine: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.coarse or len(self.coarse) != len(self.fine):
            raise ValueError(
                f"taxonomy: expected coarse classes and a list of fine ones for each, got {len(self.coarse)} "
                f"coarse and {len(self.fine)} lists"
            )
        for coarse, fine in zip(self.coarse, self.fine, strict=True):
            above = _COARSE.fullmatch(coarse)
            if above is None:
                raise ValueError(f"taxonomy: coarse class {coarse!r}: expected ID_NAME, say 1_engine")
            if not fine:
                raise ValueError(f"taxonomy: coarse class {coarse!r} has no fine class; give it one at least")
            for label in fine:
                found = _FINE.fullmatch(label)
                if found is None or found["coarse"] != above["coarse"]:
                    raise ValueError(
                        f"taxonomy: fine class {label!r} of {coarse!r}: expected {above['coarse']}-ID_NAME, "
                        f"say {above['coarse']}-1_small"
                    )
                if found["fine"] == UNKNOWN and (label != fine[-1] or len(fine) == 1):
                    raise ValueError(
                        f"taxonomy: {label!r} (class unknown) must be the last of several fine classes of "
                        f"{coarse!r}; put it there"
                    )
        ids = [label.partition("_")[0] for label in self.labels]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"taxonomy: id {twice[0]!r} comes twice; give every class an id of its own")

    @property
    def fine_labels(self) -> tuple[str, ...]:
        """The fine labels, those of unknown class among them."""
        return tuple(label for fine in self.fine for label in fine)

    @property
    def complete_labels(self) -> tuple[str, ...]:
        """The fine labels that name a class: all but X."""
        return tuple(label for label in self.fine_labels if not is_unknown(label))

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels: the fine ones, then the coarse ones."""
        return (*self.fine_labels, *self.coarse)

    @property
    def parents(self) -> dict[str, list[str]]:
        """Every label and what it lies under: a fine one under its coarse one, that under none."""
        found: dict[str, list[str]] = {
            label: [coarse] for coarse, fine in zip(self.coarse, self.fine, strict=True) for label in fine
        }
        return found | {coarse: [] for coarse in self.coarse}

    def unknown_of(self, coarse: str) -> str | None:
        """The label of unknown class under a coarse class; None where it has none.

        Raises:
            ValueError: no such coarse class.

        >>> Taxonomy(("1_engine",), (("1-1_small", "1-X_unclear"),)).unknown_of("1_engine")
        '1-X_unclear'
        """
        if coarse not in self.coarse:
            raise ValueError(f"taxonomy: no coarse class {coarse!r}; there are: {', '.join(self.coarse)}")
        last = self.fine[self.coarse.index(coarse)][-1]
        return last if is_unknown(last) else None

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it: `coarse`, a list of names, and `fine`, a list of lists."""
        return {"coarse": list(self.coarse), "fine": [list(fine) for fine in self.fine]}

    @staticmethod
    def from_dict(found: Mapping[str, Any]) -> "Taxonomy":
        """The taxonomy that `as_dict` gave.

        Raises:
            ValueError: a key is missing, or what `Taxonomy` refuses.

        >>> Taxonomy.from_dict({"coarse": ["8_dog"], "fine": [["8-1_barking"]]}).fine_labels
        ('8-1_barking',)
        """
        if not isinstance(found, Mapping) or not {"coarse", "fine"} <= set(found):
            raise ValueError(f"taxonomy: expected the keys coarse and fine, got {found!r:.80}")
        return Taxonomy(tuple(found["coarse"]), tuple(tuple(fine) for fine in found["fine"]))


def is_unknown(label: str) -> bool:
    """Whether a fine label says "which class is not known".

    >>> is_unknown("1-X_engine-of-uncertain-size"), is_unknown("1-1_small-sounding-engine")
    (True, False)
    """
    return label.partition("_")[0].endswith(f"-{UNKNOWN}")


def class_name(label: str) -> str:
    """The name in a label, without ids.

    >>> class_name("8-1_dog-barking-whining")
    'dog-barking-whining'
    """
    return label.partition("_")[2]


def taxonomy_of(labels: Iterable[str]) -> Taxonomy:
    """The taxonomy that names of labels spell out, fine and coarse in any mixture.

    Raises:
        ValueError: a label of neither form, a fine class without its coarse one, or what `Taxonomy` refuses.

    >>> taxonomy_of(["1-1_small", "1_engine", "1-2_large"]).fine
    (('1-1_small', '1-2_large'),)
    """
    coarse: dict[str, str] = {}
    fine: dict[str, list[str]] = {}
    for label in labels:
        if found := _FINE.fullmatch(label):
            fine.setdefault(found["coarse"], []).append(label)
        elif found := _COARSE.fullmatch(label):
            coarse[found["coarse"]] = label
        else:
            raise ValueError(
                f"label {label!r} is of no two-level taxonomy; expected 1_engine or 1-1_small-engine"
            )
    if alone := [labels[0] for key, labels in fine.items() if key not in coarse]:
        raise ValueError(f"taxonomy: fine class {alone[0]!r} has no coarse class among the labels")
    return Taxonomy(
        tuple(coarse.values()), tuple(tuple(sorted(fine.get(key, []), key=is_unknown)) for key in coarse)
    )


def taxonomy_of_table(path: str | Path) -> Taxonomy:
    """The taxonomy that the `LABEL_presence` columns of a CSV spell out.

    Raises:
        ValueError: no such file, no such columns, or what `taxonomy_of` refuses; the file is named.

    >>> len(taxonomy_of_table("annotations-dev.csv").labels)  # doctest: +SKIP
    37
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file; expected annotations in CSV")
    columns, _ = read_text_table(Path(path))
    labels = [name.removesuffix(PRESENCE) for name in columns if name.endswith(PRESENCE)]
    if not labels:
        raise ValueError(f"{path}: no column is named LABEL{PRESENCE}; give the taxonomy as YAML")
    try:
        return taxonomy_of(labels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; give the taxonomy as YAML") from None


def read_taxonomy(path: str | Path) -> Taxonomy:
    """Read a taxonomy from YAML: `coarse: {id: name}` and `fine: {coarse id: {fine id: name}}`.

    Ids are numbers or words of letters and digits; the fine id X is for "class unknown". Names are written as
    they stand, with spaces as hyphens.

    Args:
        path: the YAML file.

    Raises:
        ValueError: no such file, no YAML, a part is missing, or what `Taxonomy` refuses; the file is named.

    >>> read_taxonomy("dcase-ust-taxonomy.yaml").coarse[0]  # doctest: +SKIP
    '1_engine'
    """
    import yaml

    path = Path(path)
    try:
        found = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_loader())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; expected a taxonomy in YAML") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: is a folder; expected a taxonomy in YAML") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        where = " ".join(str(error).split())
        raise ValueError(f"{path}: not YAML ({where:.150})") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), dict) for key in ("coarse", "fine")):
        raise ValueError(
            f"{path}: expected `coarse:` (id: name) and `fine:` (coarse id: its fine ids: names) at the top"
        )
    coarse = {_key(path, key): _name(path, name) for key, name in found["coarse"].items()}
    fine: dict[str, list[str]] = {}
    for key, inner in found["fine"].items():
        above = _key(path, key)
        if above not in coarse:
            raise ValueError(f"{path}: fine classes of {above!r}, which `coarse:` does not have")
        if not isinstance(inner, dict):
            raise ValueError(f"{path}: the fine classes of {above!r}: expected ID: NAME lines, got {inner!r}")
        labels = [f"{above}-{_key(path, last)}_{_name(path, name)}" for last, name in inner.items()]
        fine[above] = sorted(labels, key=is_unknown)
    if bare := [f"{key}_{name}" for key, name in coarse.items() if not fine.get(key)]:
        raise ValueError(f"{path}: coarse class {bare[0]!r} has no fine class; give it one at least")
    try:
        return Taxonomy(
            tuple(f"{key}_{name}" for key, name in coarse.items()), tuple(tuple(fine[key]) for key in coarse)
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_taxonomy(taxonomy: Taxonomy, path: str | Path) -> None:
    """Write a taxonomy as the YAML that `read_taxonomy` reads.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_taxonomy(Taxonomy(("8_dog",), (("8-1_barking",),)), Path(folder, "t.yaml"))
    ...     read_taxonomy(Path(folder, "t.yaml")).labels
    ('8-1_barking', '8_dog')
    """
    lines = ["fine:"]
    for coarse, fine in zip(taxonomy.coarse, taxonomy.fine, strict=True):
        lines.append(f"    {_quoted(coarse.partition('_')[0])}:")
        for label in fine:
            number = label.partition("_")[0].partition("-")[2]
            lines.append(f"        {_quoted(number)}: {_quoted(class_name(label))}")
    lines += ["", "coarse:"]
    lines += [
        f"    {_quoted(label.partition('_')[0])}: {_quoted(class_name(label))}" for label in taxonomy.coarse
    ]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _loader() -> Any:
    """A YAML loader that keeps keys and names as they are written (01, no, 1e3) and refuses a key twice."""
    import yaml

    class Plain(yaml.BaseLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if twice := [key for index, key in enumerate(keys) if key in keys[:index]]:
                mark = f"line {node.start_mark.line + 1}"
                raise yaml.YAMLError(f"the key {twice[0]!r} comes twice in the part from {mark} on")
            return super().construct_mapping(node, deep)

    return Plain


def _key(path: Path, key: Any) -> str:
    if not isinstance(key, str) or not re.fullmatch(r"[^\W_]+", key):
        raise ValueError(f"{path}: id {key!r}: expected letters and digits alone, say 1 or animals")
    return key


def _name(path: Path, name: Any) -> str:
    text = "-".join(name.split()) if isinstance(name, str) else ""
    if not text:
        raise ValueError(f"{path}: expected the name of a class, got {name!r}")
    return text


def _quoted(text: str) -> str:
    """Text as YAML takes it: bare where it is plain."""
    return text if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", text) else "'" + text.replace("'", "''") + "'"
