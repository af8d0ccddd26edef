"""Writes docs/reference from the commands, settings and docstrings; `--check` only says what differs."""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
if str(SOURCE) not in sys.path:
    sys.path.insert(0, str(SOURCE))
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from scripts import dialects, settings  # noqa: E402  (found through the path set above)

FOLDER = Path("docs") / "reference"
NOTE = "<!-- Written by `make docs`. Change the docstrings, not this page. -->\n"
KINDS = {
    "policies": ("Policies", "decide while a call is in flight"),
    "scorers": ("Scorers", "judge after it has happened"),
    "monitors": ("Monitors", "look over time and say when something has changed"),
    "generators": ("Generators", "turn cases into more cases"),
    "reports": ("Reports", "compose a document on request"),
}


def pages(source: Path = SOURCE) -> dict[str, str]:
    """Every page of the reference: file name to text, each ending with one newline."""
    command = root_command()
    return {
        "cli.md": cli_page(command),
        "configuration.md": configuration_page(),
        "capabilities.md": capabilities_page(source),
        "sdk.md": sdk_page(source),
        "kinds.md": names_page(source, "kinds", "Kinds and ports", "What can be added, and what adapters provide."),
        "dialects.md": dialects.page(),
        "records.md": names_page(source, "records", "Records", "The frozen values that everything reads and writes."),
    }


def root_command() -> click.Command | None:
    """The `watchkeeper` command, or None while there is none."""
    from watchkeeper import cli

    found = getattr(cli, "main", None)
    return found if isinstance(found, click.Command) else None


def commands(command: click.Command, name: str = "watchkeeper") -> Iterator[tuple[str, click.Command, click.Context]]:
    """The command and everything below it, depth first, each with its full name and a context."""
    yield from _commands(command, name, None)


def _commands(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    context = click.Context(command, info_name=name.split()[-1], parent=parent)
    yield name, command, context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            child = command.get_command(context, below)
            if child is not None and not child.hidden:
                yield from _commands(child, f"{name} {below}", context)


def undocumented_commands(command: click.Command) -> list[str]:
    """Commands without help, and options without a help text."""
    found = []
    for name, each, _ in commands(command):
        if not (each.help or "").strip():
            found.append(f"{name} has no help")
        found += [
            f"{name} {option.opts[0]} has no help"
            for option in each.params
            if isinstance(option, click.Option) and not option.hidden and not (option.help or "").strip()
        ]
    return found


def cli_page(command: click.Command | None) -> str:
    """The page of commands: usage, help and options of each."""
    parts = [NOTE, "# Commands\n"]
    for name, each, context in commands(command) if command else ():
        level = "##" if " " not in name else "###"
        parts.append(f"{level} `{name}`\n")
        parts.append(f"    {' '.join([name, *each.collect_usage_pieces(context)])}\n")
        if each.help:
            parts.append(_plain(each.help) + "\n")
        parts += _below(each, context) + _options(each, context)
    return _page(parts)


def _below(command: click.Command, context: click.Context) -> list[str]:
    if not isinstance(command, click.Group):
        return []
    rows = []
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if child is not None and not child.hidden:
            rows.append((f"`{name}`", child.get_short_help_str(limit=100)))
    return _table(("Command", "What it does"), rows)


def _options(command: click.Command, context: click.Context) -> list[str]:
    rows = []
    for option in command.params:
        record = option.get_help_record(context) if isinstance(option, click.Option) else None
        if record is not None:
            rows.append((f"`{record[0]}`", record[1]))
    return _table(("Option", "Meaning"), rows)


def configuration_page() -> str:
    """The page of settings: key, type, default and meaning, section by section."""
    parts = [NOTE, "# Configuration\n"]
    introduction = settings.introduction()
    if introduction:
        parts.append(introduction + "\n")
    for section in settings.sections():
        parts.append(f"## `{section.heading}`\n")
        if section.meaning:
            parts.append(section.meaning + "\n")
        rows = [(f"`{each.key}`", f"`{each.type}`", each.default, each.meaning) for each in section.settings]
        parts += _table(("Key", "Type", "Default", "Meaning"), rows)
    if variables := settings.environment():
        parts.append("## Environment\n\nA flag comes before the environment, the environment before the file.\n")
        parts += _table(("Variable", "Stands for"), [(f"`{name}`", f"`{key}`") for name, key in variables])
    return _page(parts)


def capabilities_page(source: Path) -> str:
    """The page of built-in capabilities: each file's docstring, grouped by kind."""
    parts = [NOTE, "# Capabilities\n"]
    for folder, (title, meaning) in KINDS.items():
        parts.append(f"## {title}\n\n{title} {meaning}.\n")
        for path in sorted((source / "watchkeeper" / "capabilities" / folder).glob("*.py")):
            if path.stem.startswith("_"):
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            parts.append(f"### {path.stem}\n")
            parts.append(_sections(ast.get_docstring(tree) or "") + "\n")
            rows = [
                (f"`{each.key}`", f"`{each.type}`", each.default, each.meaning)
                for each in parameters(folder, path.stem)
            ]
            parts += _table(("Parameter", "Type", "Default", "Meaning"), rows)
    return _page(parts)


def parameters(folder: str, stem: str) -> list[settings.Setting]:
    """The parameters of a capability: the fields of the one class in its file that carries a header."""
    module = importlib.import_module(f"watchkeeper.capabilities.{folder}.{stem}")
    for found in vars(module).values():
        is_own = isinstance(found, type) and found.__module__ == module.__name__ and hasattr(found, "header")
        if is_own and issubclass(found, msgspec.Struct):
            return settings.fields(found)
    return []


def _sections(text: str) -> str:
    """Docstring to Markdown: a line above indented ones is a heading in bold, and what it heads moves left."""
    lines = text.splitlines()
    written = []
    for number, line in enumerate(lines):
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if line and not line.startswith(" ") and below.startswith("    "):
            written.append(f"**{line.strip(' :')}**\n")
        else:
            written.append(line.removeprefix("    "))
    return "\n".join(written)


def names_page(source: Path, room: str, title: str, meaning: str) -> str:
    """A page of a room's public classes and functions: signature and docstring, file by file."""
    parts = [NOTE, f"# {title}\n\n{meaning}\n"]
    for path in sorted((source / "watchkeeper" / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        public = _public(tree)
        if path.stem == "__init__" or path.stem.startswith("_") or not public:
            continue
        module = ".".join(path.relative_to(source).with_suffix("").parts)
        parts.append(f"## {module}\n")
        parts.append(_plain((ast.get_docstring(tree) or "").split("\n\n")[0]) + "\n")
        for node in public:
            parts.append(f"### `{_signature(node)}`\n")
            if text := ast.get_docstring(node):
                parts.append(_block(text))
    return _page(parts)


def sdk_page(source: Path) -> str:
    """The page of what `import watchkeeper` offers: the names in the SDK's `__all__`, wherever they are defined."""
    folder = source / "watchkeeper" / "sdk"
    parts = [NOTE, "# The SDK\n\nWhat `import watchkeeper` offers a program.\n"]
    if not (folder / "__init__.py").is_file():
        return _page(parts)
    front = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    trees = [*(ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[!_]*.py"))), front]
    defined = {node.name: node for tree in trees for node in _public(tree)}
    parts.append(_block(ast.get_docstring(front) or ""))
    for name in _offered(front):
        node = defined[name]
        parts.append(f"## `{_signature(node)}`\n")
        parts.append(_block(ast.get_docstring(node) or ""))
        if isinstance(node, ast.ClassDef):
            parts += _members(node)
    return _page(parts)


def _offered(tree: ast.Module) -> list[str]:
    """The names in a module's `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "__all__" for to in node.targets):
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def _members(node: ast.ClassDef) -> list[str]:
    parts = []
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
            parts.append(f"### `{node.name}.{_signature(each).removeprefix('def ')}`\n")
            parts.append(_block(ast.get_docstring(each) or ""))
    return parts


def _public(tree: ast.Module) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]


def _signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{word} {node.name}({ast.unparse(node.args)}){returns}"


def _block(text: str) -> str:
    """A docstring as it was laid out: prose as prose, and anything with indented lines kept as it stands."""
    if any(line.startswith((" ", "\t")) for line in text.splitlines()):
        return f"```text\n{text}\n```\n"
    return text + "\n"


def _plain(text: str) -> str:
    return "\n".join(line.strip() for line in text.replace("\b", "").strip().splitlines())


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    lines = [head, tuple("---" for _ in head), *rows]
    written = ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]
    return ["\n".join(written) + "\n"]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _page(parts: list[str]) -> str:
    lines = [line.rstrip() for line in "\n".join(parts).splitlines()]
    return "\n".join(lines).rstrip() + "\n"


def differing(folder: Path) -> list[str]:
    """Names of pages in `folder` that are not what would be written now, or that nobody writes any more."""
    now = pages()
    there = {path.name for path in folder.glob("*.md")} if folder.is_dir() else set()
    wrong = [name for name, text in now.items() if name not in there or (folder / name).read_text() != text]
    return sorted(wrong + [name for name in there if name not in now])


def main() -> int:
    """Write the pages, or with `--check` leave them and return 1 if one of them is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    folder = ROOT / FOLDER
    if parser.parse_args().check:
        wrong = differing(folder)
        if wrong:
            print(f"Out of date in {FOLDER}: {', '.join(wrong)}. Run `make docs`.")
        return 1 if wrong else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in differing(folder):
        text = pages().get(name)
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text, encoding="utf-8")
        print(f"{FOLDER / name} {'removed' if text is None else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
