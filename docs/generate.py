"""Write the generated parts of the documentation anew: `make docs`.

A generated part stands between <!-- generated: NAME --> and <!-- end -->. tests/test_docs.py fails where one
is not what this script would write. What the bundled model says of the example scene is left as it is where
there is no bundled model.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from auricle.cli import verbs

ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "auricle" / "bundled"
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
DOCUMENTS = ("README.md", "docs/cli.md", "docs/index.md")


def help_of_verbs() -> str:
    """The help of every verb, as `auricle VERB --help` prints it in 100 columns."""
    texts = []
    for verb, command in verbs().items():
        context = typer.Context(
            command, info_name=f"auricle {verb}", terminal_width=100, max_content_width=100
        )
        texts.append(f"## auricle {verb}\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n" + "\n".join(texts) + "\n"


def tree() -> str:
    """The files of the package, each with the first sentence of its docstring."""
    rows = list(_rows(ROOT / "auricle", 0))
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:<{width}}{comment}".rstrip() for name, comment in rows]
    return "```text\nauricle/\n" + "\n".join(lines) + "\n```\n"


def _rows(folder: Path, depth: int) -> Iterator[tuple[str, str]]:
    paths = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    for path in sorted(paths, key=lambda path: (path.name.startswith("__"), path.name)):
        inner = path / "__init__.py" if path.is_dir() else path
        if depth and path.name == "__init__.py":
            continue  # its docstring stands beside the folder
        yield "  " * (depth + 1) + path.name + "/" * path.is_dir(), first_sentence(inner)
        if path.is_dir():
            yield from _rows(path, depth + 1)
    if depth == 0 and BUNDLED.is_dir():
        for path in sorted(BUNDLED.iterdir()):
            yield f"  bundled/{path.name}/", "a model that comes with the package; see its README.md"


def first_sentence(path: Path) -> str:
    """The first sentence of a file's docstring, without its full stop."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[^.])\.(?: |$)", text)[0]


def scene() -> str | None:
    """What `auricle tag examples/scene.ogg --windows --threshold 0.3` prints; None without a model."""
    if not (BUNDLED / "auricle-esc50").is_dir():
        return None
    verb = ["tag", "examples/scene.ogg", "--windows", "--threshold", "0.3"]
    command = [sys.executable, "-m", "auricle", *verb, "--threads", "1"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return f"```text\n$ auricle {' '.join(verb)}\n{printed}```\n"


def pages() -> str:
    """A link to every page, by its heading."""
    lines = []
    for path in sorted((ROOT / "docs").glob("*.md")):
        heading = path.read_text().splitlines()[0].lstrip("# ")
        if path.name != "index.md":
            lines.append(f"- [{heading}]({path.name})")
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """A document with its generated parts as they should be.

    Raises:
        KeyError: a part that nothing generates.
    """
    makers = {"cli": help_of_verbs, "tree": tree, "scene": scene, "pages": pages}

    def renew(found: re.Match[str]) -> str:
        made = makers[found[2]]()
        return found[0] if made is None else found[1] + made + found[3]

    return PART.sub(renew, text)


def main() -> None:
    """Renew every document."""
    for name in DOCUMENTS:
        path = ROOT / name
        text = path.read_text()
        if (new := renewed(text)) != text:
            path.write_text(new)
            print(f"renewed {name}")


if __name__ == "__main__":
    main()
