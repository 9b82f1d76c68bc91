"""The documentation is complete, up to date, and every part of it that can be checked is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from running import load_script

from auricle.cli import verbs

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "auricle"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NUMBER = re.compile(r"\d+\.\d+")
VERBS = set(verbs())


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return load_script("docs/generate.py")


@pytest.mark.parametrize("name", ["README.md", "docs/cli.md", "docs/index.md"])
def test_generated_parts_are_up_to_date(
    name: str, generate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "scene", lambda: None)  # has a test of its own
    text = (ROOT / name).read_text()
    assert generate.PART.search(text)
    assert generate.renewed(text) == text, f"{name} is stale: run make docs"


def test_what_the_readme_says_of_the_scene_is_what_the_model_says(generate: ModuleType) -> None:
    said = generate.scene()
    assert said is not None, "auricle/bundled/auricle-esc50 is missing"
    parts = {part[2]: part[0] for part in generate.PART.finditer((ROOT / "README.md").read_text())}
    # Another processor may give another last digit.
    written = parts["scene"].partition("-->\n")[2].rpartition("<!-- end")[0]
    assert NUMBER.sub("#", written) == NUMBER.sub("#", said), "README.md is stale: run make docs"
    for ours, theirs in zip(NUMBER.findall(written), NUMBER.findall(said), strict=True):
        assert abs(float(ours) - float(theirs)) < 0.0101


def test_a_part_that_nothing_generates_is_refused(generate: ModuleType) -> None:
    with pytest.raises(KeyError, match="nonesuch"):
        generate.renewed("<!-- generated: nonesuch -->\n<!-- end -->")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_stands_in_the_documentation(verb: str) -> None:
    assert f"\n## auricle {verb}\n" in (ROOT / "docs" / "cli.md").read_text()
    assert f"`auricle {verb}`" in (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^\| .*`{verb.split()[0]}`.* \|", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_the_readmes_tree_lists_exactly_the_files() -> None:
    block = re.search(r"```text\nauricle/\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    listed, folders = set(), []
    for line in block[1].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2 - 1
        assert len(line.split()) > 2, f"{name} has no comment"
        folders[depth:] = [name]
        listed.add("".join(folders))
    files = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    expected = {str(path) for path in files if path.name != "__init__.py" or path.parent == Path()}
    expected |= {f"{path.parent}/" for path in files if path.parent != Path()}
    expected |= {f"bundled/{path.name}/" for path in (PACKAGE / "bundled").glob("*/")}
    assert listed == expected


def links() -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"[a-z]+:", target):
                yield document, target


def test_there_are_links_to_look_at() -> None:
    assert len(list(links())) > 10


@pytest.mark.parametrize("document, target", list(links()), ids=lambda value: getattr(value, "name", value))
def test_relative_links_lead_somewhere(document: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    there = document.parent / path if path else document
    assert there.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_documentation_are_real(document: Path) -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)
    for language, block in blocks:
        if language not in ("sh", "console"):
            commands = re.search(r"^auricle \w", block, re.MULTILINE) and language != "text"
            assert not commands, (
                f"{document.name}: commands in a block that is neither sh nor console: {block}"
            )
            continue
        for line in block.replace("\\\n", " ").splitlines():
            for words in re.findall(r"(?:^|[|;$&] *)auricle ([^|;&]*)", line):
                verb, *rest = words.split()
                if verb.startswith("-") or verb == "VERB":
                    continue
                if rest and f"{verb} {rest[0]}" in VERBS:
                    verb = f"{verb} {rest[0]}"
                assert verb in VERBS, f"{document.name}: auricle {verb}"
                surface = (ROOT / "tests" / "cli_surface.txt").read_text().splitlines()
                for word in rest:
                    if word.startswith("--") and word != "--help":
                        assert f"{verb} {word.partition('=')[0]}" in surface, f"{document.name}: {line}"


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    nodes = ast.parse(path.read_text()).body
    return {
        node.name: node
        for node in nodes
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def public_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions of the modules, and of a folder those that its __init__ defines or has in __all__.

    What only the files of one folder share is theirs; a folder whose __init__ imports nothing is a
    shelf of modules, each public.
    """
    for path in sorted(PACKAGE.glob("*.py")):
        for name, node in functions(path).items():
            yield f"{path.stem}.{name}", node
    for init in sorted(PACKAGE.glob("*/__init__.py")):
        folder = init.parent
        public = functions(init)
        nodes = ast.parse(init.read_text()).body
        exported: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                exported = set(ast.literal_eval(node.value))
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"auricle.{folder.name}."):
                there = functions(PACKAGE / Path(*str(node.module).split(".")[1:]).with_suffix(".py"))
                public |= {
                    item.name: there[item.name] for item in node.names if item.name in exported & set(there)
                }
        if not any(isinstance(node, ast.ImportFrom) for node in nodes):
            for path in folder.glob("[!_]*.py"):
                public |= functions(path)
        for name, node in public.items():
            yield f"{folder.name}.{name}", node


def test_public_functions_have_an_example() -> None:
    found = list(public_functions())
    assert len(found) > 20
    names = {command.callback.__name__ for command in verbs().values()}
    without = []
    for name, node in found:
        if name.startswith("cli.") and node.name in names:
            continue  # its docstring is its help; tests/test_cli.py asks for the example there
        if ">>>" not in (ast.get_docstring(node) or ""):
            without.append(name)
    assert not without, f"no example in: {', '.join(without)}"
