"""Write docs/api.md, one page with every public name of the package: python docs/api.py

It reads the source as text, so that neither MXNet nor the version of Python changes the page.
"""

import ast
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, PAGE = ROOT / "gluonlm", ROOT / "docs" / "api.md"
HEAD = """# Public names

What `gluonlm` itself offers comes first, then every room. Names in a room that begin with `_` are
private. Written by `python docs/api.py`.
"""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def address(path):
    """Return a file's dotted name, `gluonlm.models.base`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def purpose(node):
    """Return the first sentence of a docstring."""
    paragraph = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    sentence = re.split(r"\. (?=[A-Z])", paragraph)[0].rstrip(".:")
    return sentence[:1].upper() + sentence[1:]


def signature(node):
    """Return the arguments of a function with their defaults, without self and annotations."""
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    for argument in [*named, arguments.vararg, arguments.kwarg]:
        if argument:
            argument.annotation = None
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        del arguments.args[0]
    return f"({ast.unparse(arguments)})"


def default(value):
    """Return a field's default as it is written, `...` where a function makes it."""
    if isinstance(value, ast.Call):
        made = getattr(value.func, "id", "") == "option" and value.args
        return ast.unparse(value.args[0]) if made else "..."
    return ast.unparse(value)


def fields(node):
    """Return what a dataclass is made from, with its defaults; nothing for other classes."""
    decorators = [getattr(d, "func", d) for d in node.decorator_list]
    if "dataclass" not in [getattr(d, "id", "") for d in decorators]:
        return ""
    given = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    words = [f.target.id + (f"={default(f.value)}" if f.value else "") for f in given]
    return f"({', '.join(words)})"


def entry(name, node, depth=0):
    """Return the lines of one name."""
    said = purpose(node)
    text = f"- `{name}`" + (f": {said}." if said else "")
    lead = "  " * depth
    wrap = dict(break_long_words=False, break_on_hyphens=False)
    return textwrap.wrap(text, 100, initial_indent=lead, subsequent_indent=lead + "  ", **wrap)


def public(body):
    """Return the public classes and functions among statements."""
    kinds = (ast.ClassDef, *FUNCTIONS)
    return [node for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def class_lines(node):
    """Return the lines of a class and its public methods."""
    methods = {method.name: method for method in node.body if isinstance(method, FUNCTIONS)}
    begin = methods.get("__init__")
    lines = entry(node.name + (signature(begin) if begin else fields(node)), node)
    for method in public(node.body):
        if ast.get_docstring(method):
            properties = [getattr(decorator, "id", "") for decorator in method.decorator_list]
            own = "" if "property" in properties else signature(method)
            lines += entry(f"{method.name}{own}", method, depth=1)
    return lines


def faced(tree):
    """Return the lines that say what a folder's `__init__` offers from the files inside."""
    inside = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.level == 1]
    names = sorted(alias.name for node in inside for alias in node.names)
    return textwrap.wrap(f"Offers {', '.join(f'`{name}`' for name in names)}.", 100)


def room(path):
    """Return the lines of one room, or nothing if it offers no names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines = faced(tree) if path.name == "__init__.py" else []
    for node in public(tree.body):
        if isinstance(node, ast.ClassDef):
            lines += class_lines(node)
        elif ast.get_docstring(node):
            lines += entry(node.name + signature(node), node)
    title = ["", f"## `{address(path)}`", "", *textwrap.wrap(purpose(tree) + ".", 100), ""]
    return [*title, *lines] if lines else []


def offered():
    """Return the names that `gluonlm` itself offers, each with the room it comes from."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    homes = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            homes.update({alias.name: node.module for alias in node.names})
        if isinstance(node, ast.Assign) and node.targets[0].id == "_HOME":
            homes.update(ast.literal_eval(node.value))
    return [f"- `{name}`, of `gluonlm.{home}`" for name, home in sorted(homes.items())]


def page():
    """Return the page."""
    paths = sorted(PACKAGE.rglob("*.py"), key=address)
    rooms = [line for path in paths if path != PACKAGE / "__init__.py" for line in room(path)]
    return "\n".join([HEAD, "## `gluonlm`", "", *offered(), *rooms]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
