"""Writes the pages beside it from docstrings, stubs and the command line's own help: python docs/reference/generate.py

Only public names are listed: what a package offers in its ``__all__``, and what those calls return. The pages are committed,
so that they can be read without building a site; ``tests/docs`` fails if they are not what this program writes
(``--check`` says which).
"""

from __future__ import annotations

import argparse
import ast
import enum
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

HERE = Path(__file__).resolve().parent
COMMAND = "python docs/reference/generate.py"
NOTE = f"*Written by `{COMMAND}` from the code's own docstrings; not by hand.*"

# page -> title, a sentence, and what it lists: modules by their __all__, or single names of a module
PYTHON = {
    "alpha": ("alpha", "What `import alpha` offers. A name is loaded when it is first used.", ["alpha"]),
    "handles": (
        "Handles",
        "What calls of a [Runtime](alpha.md#runtime) return: `rt.instrument(SYMBOL)` and `rt.start()`. Nobody makes them by hand.",
        ["alpha._core.pipeline:Instrument", "alpha._core.worker:Worker"],
    ),
    "data": ("alpha.data", "Readers, external series and the simulator.", ["alpha.data", "alpha.data.simulate:simulate", "alpha.data.simulate:SimulatedStream"]),
    "strategies": ("alpha.strategies", "From signals to suggestions. [Own strategy](../how-to/own-strategy.md) shows how.", ["alpha.strategies"]),
    "registry": ("alpha.registry", "Models and their lawful moves. [Operations](../operations.md) shows the commands.", ["alpha.registry"]),
    "audit": ("alpha.audit", "The audit log and its verification.", ["alpha.audit"]),
    "risk": ("alpha.risk", "Limits for orders, and the kill latch. It knows nothing of models and sends nothing.", ["alpha.risk"]),
    "recipe": ("Recipes", "The keys of a recipe, table by table, with their defaults; TOML for `alpha train`.", ["alpha_training.recipe"]),
}  # fmt: skip
OPTIONAL = {"watch": ("alpha.watch", "Looking at what serves.", ["alpha.watch"])}  # listed where the package is there


def pages() -> dict[str, str]:
    """File name -> its whole text."""
    out = {}
    listed = dict(PYTHON)
    listed |= {name: page for name, page in OPTIONAL.items() if _offers(page[2][0])}
    for name, (title, text, sources) in listed.items():
        body = "\n\n".join(_recipe() if name == "recipe" else _objects(sources))
        out[f"{name}.md"] = f"# {title}\n\n{NOTE}\n\n{text}\n\n{body}\n"
    out["cli.md"] = _command_line()
    rows = [f"| [{title}]({name}.md) | {text} |" for name, (title, text, _) in listed.items()]
    rows.append("| [Command line](cli.md) | Every verb of `alpha` with its options. |")
    rows.append("| [Operators](../operators.md) | The language of features. |")
    rows.append("| [Reasons](../reasons.md) | Why a Signal says what it says. |")
    rows.append("| [Numerics](../numerics.md) | The exact meaning of every operator. |")
    rows = [re.sub(r"\]\(\.\./how-to", "](../how-to", row) for row in rows]
    out["../decisions/index.md"] = _decisions()
    out["index.md"] = f"# Reference\n\n{NOTE}\n\n| page | what |\n|---|---|\n" + "\n".join(rows) + "\n"
    return out


def _offers(module: str) -> bool:
    return importlib.util.find_spec(module) is not None and hasattr(importlib.import_module(module), "__all__")


def _decisions() -> str:
    """All of them by number and title."""
    rows = []
    for path in sorted((HERE.parent / "decisions").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        number, _, text = title.partition(" ")
        rows.append(f"- [{number}]({path.name}) {text}")
    text = "Facts that cost thought: what was decided, what was rejected, and the number that decided."
    return f"# Decisions\n\n*Written by `{COMMAND}`; not by hand.*\n\n{text}\n\n" + "\n".join(rows) + "\n"


# -- docstrings


def markdown(text: str | None) -> str:
    """A docstring as Markdown: roles and double backquotes become code, a doctest becomes a block that is only shown."""
    lines: list[str] = []
    shown: list[str] = []
    for line in [*inspect.cleandoc(text or "").splitlines(), ""]:
        if line.lstrip().startswith((">>>", "...")) or (shown and line.strip()):
            shown.append(line)
            continue
        if shown:
            lines += ["```text", *shown, "```"]
            shown = []
        lines.append(line)
    out, inside = [], False
    for line in lines:
        inside ^= line.startswith("```")
        out.append(line if inside or line.startswith("```") else _inline(line))
    return "\n".join(out).strip()


def _inline(line: str) -> str:
    line = re.sub(r":(?:class|meth|func|mod|attr|data):`~?([^`]+)`", r"`\1`", line)
    line = re.sub(r"``([^`]+)``", r"`\1`", line)
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(p if p.startswith("`") else p.replace("<", r"\<").replace("[", r"\[") for p in parts)


# -- Python


def _objects(sources: list[str]) -> list[str]:
    out = []
    for source in sources:
        module, _, name = source.partition(":")
        place = importlib.import_module(module)
        for one in [name] if name else sorted(place.__all__, key=lambda n: (n.startswith("_"), n.lower())):
            out += list(_object(one, getattr(place, one)))
    return out


def _object(name: str, value: Any) -> Iterator[str]:
    yield f"## {name.replace('__', chr(92) + '_' + chr(92) + '_')}" if name.startswith("__") else f"## {name}"
    if isinstance(value, np.dtype):
        yield _dtype(name, value)
    elif isinstance(value, type) and issubclass(value, enum.Enum):
        yield markdown(value.__doc__)
        yield _members(value)
    elif isinstance(value, type):
        yield from _class(name, value)
    elif inspect.isroutine(value):
        yield _signature(name, value)
        yield markdown(_own_words(value.__doc__))
    elif isinstance(value, str):
        yield "The version of this package, a text."
    else:
        yield markdown(type(value).__doc__)


def _class(name: str, cls: type) -> Iterator[str]:
    stub = _stub(cls)
    if issubclass(cls, msgspec.Struct):
        yield markdown(cls.__doc__)
        yield _fields(cls)
    elif issubclass(cls, BaseException):
        yield markdown(cls.__doc__)
    else:
        made = stub.get("__new__") if stub else _text_of_signature(cls)
        if made and made != "()" and not (stub and name in ("Instrument", "Worker", "Signal")):
            yield f"```text\n{name}{_without_self(made)}\n```"
        yield markdown(_own_words(cls.__doc__))
    for member, what in sorted(_members_of(cls), key=lambda m: m[0]):
        if (
            isinstance(what, property)
            or (stub is not None and stub.get(member) == "property")
            or inspect.isgetsetdescriptor(what)
        ):
            doc = markdown(what.__doc__)
            yield f"- **`{member}`**: {doc}" if doc else f"- **`{member}`**"
            continue
        target = what.__func__ if isinstance(what, (classmethod, staticmethod)) else what
        kind = "classmethod " if isinstance(what, classmethod) else ""
        told = stub.get(member, "") if stub else _text_of_signature(target)
        told = _without_self(told)
        yield f"### {name}.{member}"
        yield f"```text\n{kind}{member}{told}\n```"
        yield markdown(_own_words(what.__doc__))


def _members_of(cls: type) -> Iterator[tuple[str, Any]]:
    """Public ones of the class's own, and of bases in this project that are not listed by themselves."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.split(".")[0] not in ("alpha", "alpha_training") or (
            base is not cls and issubclass(cls, BaseException)
        ):
            continue
        for member, what in vars(base).items():
            told = isinstance(what, (classmethod, staticmethod, property)) or inspect.isroutine(what)
            if inspect.isgetsetdescriptor(what):
                told = bool(what.__doc__)
            if not member.startswith("_") and told and member not in seen:
                seen.add(member)
                yield member, what


def _stub(cls: type) -> dict[str, str] | None:
    """Of a class of the native floor: name -> signature as its .pyi has it, or "property"."""
    module = importlib.import_module(cls.__module__)
    path = Path(str(module.__file__)).with_name(cls.__module__.rpartition(".")[2] + ".pyi")
    if not path.is_file():
        return None
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            out = {}
            for one in node.body:
                if isinstance(one, ast.FunctionDef):
                    is_property = any(getattr(d, "id", "") == "property" for d in one.decorator_list)
                    returned = (
                        f" -> {ast.unparse(one.returns)}" if one.returns is not None and one.name != "__new__" else ""
                    )
                    out[one.name] = "property" if is_property else f"({ast.unparse(one.args)}){returned}"
            return out
    return None


def _text_of_signature(what: Callable[..., Any] | type) -> str:
    """As it is written in the source: annotations are texts there, and stay what they are."""
    try:
        signature = inspect.signature(what)
    except (TypeError, ValueError):
        return ""

    def note(annotation: Any) -> str:
        return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))

    out, star = [], False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not star:
            out.append("*")
        star |= p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        text = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name
        if p.annotation is not p.empty:
            text += f": {note(p.annotation)}"
        if p.default is not p.empty:
            told = "…" if "factory" in repr(p.default) else repr(p.default)
            text += f" = {told}" if p.annotation is not p.empty else f"={told}"
        out.append(text)
    returned = signature.return_annotation
    back = "" if isinstance(what, type) or returned is signature.empty else f" -> {note(returned)}"
    return f"({', '.join(out)}){back}"


def _without_self(text: str) -> str:
    return _short(re.sub(r"^\((?:self|cls)(?:, )?(?:/, )?", "(", text)).replace("=...", "=…").replace(" = ...", " = …")


def _short(text: str) -> str:
    """Names without their modules, and no address."""
    text = re.sub(r"\b(?:alpha|numpy|npt|np|typing|collections)(?:\.\w+)*\.(\w)", r"\1", text)
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _signature(name: str, value: Callable[..., Any]) -> str:
    return f"```text\n{name}{_without_self(_text_of_signature(value))}\n```"


def _own_words(doc: str | None) -> str:
    """Without the signature that Cython puts first."""
    text = inspect.cleandoc(doc or "")
    first, _, rest = text.partition("\n")
    return rest.strip() if re.match(r"^\w+(\.\w+)?\(.*\)(?: ->.*)?$", first) else text


def _comments(cls: type) -> dict[str, str]:
    """Member -> the comment behind it in the source."""
    return dict(re.findall(r"^    (\w+) = [^#\n]+#\s*(.+)$", inspect.getsource(cls), re.M))


def _members(cls: type[enum.Enum]) -> str:
    told = _comments(cls)
    from alpha.events import Reason
    from alpha.reasons import REASONS

    rows = []
    for member in cls:
        text = REASONS[member].meaning if isinstance(member, Reason) else told.get(member.name, "")
        value = int(member) if isinstance(member, int) else member.value
        rows.append(f"| `{member.name}` | {value} | {_cell(_inline(text))} |")
    return "| member | value | meaning |\n|---|---|---|\n" + "\n".join(rows)


def _dtype(name: str, dtype: np.dtype[Any]) -> str:
    source = (Path(__file__).resolve().parents[2] / "alpha" / "events.py").read_text(encoding="utf-8")
    doc = re.search(rf'^{name} = .*?^\)\n"""(.+?)"""', source, re.M | re.S)
    comments = dict(re.findall(r'^\s+\("(\w+)", [^#\n]+#\s*(.+)$', source, re.M))
    rows = []
    for field in dtype.names or ():
        of, offset = dtype.fields[field][:2]  # type: ignore[index]
        shape = f" × {of.shape[0]}" if of.shape else ""
        rows.append(f"| `{field}` | {of.base.name}{shape} | {offset} | {_cell(comments.get(field, ''))} |")
    return f"{doc[1] if doc else ''}\n\n| field | type | offset in bytes | |\n|---|---|---|---|\n" + "\n".join(rows)


def _fields(cls: type[msgspec.Struct]) -> str:
    rows = []
    for field in msgspec.structs.fields(cls):
        kind = _cell(_kind(cls, field))
        rows.append(f"| `{field.encode_name}` | `{kind}` | {_cell(_default(field))} |")
    return "| field | type | default |\n|---|---|---|\n" + "\n".join(rows)


def _kind(cls: type, field: Any) -> str:
    for base in cls.__mro__:
        if field.name in vars(base).get("__annotations__", {}):
            return _short(str(vars(base)["__annotations__"][field.name]))
    return ""


def _default(field: Any) -> str:
    if field.required:
        return "must be given"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, msgspec.Struct):
        return (
            f"as [{type(value).__name__}](#{type(value).__name__.lower()})"
            if "alpha_training" in type(value).__module__
            else f"`{_short(repr(value))}`"
        )
    return f"`{value!r}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# -- recipes


def _recipe() -> list[str]:
    """Each table of a recipe: the Struct that reads it, in the order of the file."""
    module = importlib.import_module("alpha_training.recipe")
    structs = [
        v
        for v in vars(module).values()
        if isinstance(v, type) and issubclass(v, msgspec.Struct) and v.__module__ == module.__name__
    ]
    out = []
    for cls in sorted(structs, key=lambda c: (c is not module.Recipe, inspect.getsourcelines(c)[1])):
        out += [f"## {cls.__name__}", markdown(cls.__doc__), _fields(cls)]
    kinds = ", ".join(f"`{k}`" for k in module.Kind.__args__)
    return [f"`[[models]]` takes one of these kinds: {kinds}.", *out]


# -- command line


def _command_line() -> str:
    """Every verb from its own parser, as --help shows it, whatever Python formats help today."""
    from alpha.cli import main

    parts = [
        "# Command line",
        NOTE,
        "Exit codes: 0 ok, 1 a check failed, 2 bad input or an output that cannot be written, 130 interrupted. `--json` prints "
        "exactly one JSON object on standard output. `alpha --version` prints the version.",
    ]
    verbs: list[tuple[str, Any, str]] = [(n, importlib.import_module(m), text) for n, (m, text) in main.VERBS.items()]
    installed = {e.name: e for e in entry_points(group=main.EXTRA_GROUP)}
    verbs += [(n, installed[n].load(), text) for n, text in main.TRAINING_VERBS.items()]
    parts.append("\n".join(f"- [`alpha {name}`](#alpha-{name}): {text}" for name, _, text in verbs))
    for name, verb, _ in verbs:
        parser = argparse.ArgumentParser(prog=f"alpha {name}", description=verb.__doc__)
        verb.configure(parser)
        parts += list(_parser(parser, 2))
    return "\n\n".join(parts) + "\n"


def _parser(parser: argparse.ArgumentParser, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {parser.prog}"
    if parser.description:
        yield markdown(parser.description)
    rows, below = [], []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            told = {a.dest: a.help or "" for a in action._choices_actions}
            below = [(sub, told.get(name, "")) for name, sub in action.choices.items()]
            continue
        rows.append(f"| `{_written(action)}` | {_cell(_help(action))} |")
    if rows:
        yield "| argument | what |\n|---|---|\n" + "\n".join(rows)
    for sub, text in below:
        if not sub.description:
            sub.description = text
        yield from _parser(sub, depth + 1)


def _written(action: argparse.Action) -> str:
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    if isinstance(value, tuple):
        value = " ".join(value)
    if action.nargs == 0:
        value = ""
    elif action.nargs in ("+", "*"):
        value = f"{value} …"
    if not action.option_strings:
        return _cell(f"[{value}]" if action.nargs in ("?", "*") else str(value))
    return _cell(", ".join(action.option_strings) + (f" {value}" if value else ""))


def _help(action: argparse.Action) -> str:
    text = (
        (action.help or "") % {"default": action.default, "prog": ""}
        if "%(" in (action.help or "")
        else (action.help or "")
    )
    text = text.replace("%%", "%")
    if action.required and action.option_strings:
        text = f"{text} (must be given)" if text else "must be given"
    return re.sub(r"(?<![`\\])<", r"\<", text)


def main(check: bool) -> int:
    stale = []
    for name, text in pages().items():
        path = HERE / name
        text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    print(f"{'out of date' if check else 'written'}: {', '.join(stale) or 'nothing'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[1]))
    sys.exit(main("--check" in sys.argv[1:]))
