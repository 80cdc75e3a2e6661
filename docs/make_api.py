"""Write docs/api.md from the docstrings of the names in ``alexnet_jax.__all__``.

    python docs/make_api.py

The docstrings are parsed from the source files. The modules that define the names are not imported, so
the page does not depend on the installed packages.
"""

import ast
import inspect
import re
import textwrap
from pathlib import Path

from alexnet_jax import _HOME

SOURCE = Path(__file__).parent.parent / "src" / "alexnet_jax"
PAGE = Path(__file__).parent / "api.md"
HEAD = """\
# Python API

<!-- Written by docs/make_api.py from the docstrings: edit those, then run `make docs`. -->

`import alexnet_jax` gives the names below. Each is imported on first use, so that reading a config does not
wait for JAX. [examples/digits.py](../examples/digits.py) uses most of them. Shapes are in parentheses.
"Raises" lists what a caller can correct or must expect.

| name | what it is |
|---|---|
"""
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$")


def page() -> str:
    """Return the text of docs/api.md."""
    nodes = {name: find(name, module) for name, module in _HOME.items()}
    rows = [f"| [`{name}`](#{anchor(name)}) | {summary(node)} |\n" for name, node in nodes.items()]
    parts = [part for name, node in nodes.items() for part in entry(name, node, _HOME[name])]
    return HEAD + "".join(rows) + "\n" + "\n\n".join(parts) + "\n"


def anchor(name: str) -> str:
    """Return the anchor of a heading. GitHub ignores case, and numbers the headings that are then equal."""
    same = [other for other in _HOME if other.lower() == name.lower()]
    number = same.index(name)
    return name.lower() + (f"-{number}" if number else "")


def find(name: str, module: str) -> ast.FunctionDef | ast.ClassDef:
    """Return the definition of a public name."""
    tree = ast.parse((SOURCE / f"{module.replace('.', '/')}.py").read_text())
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return node
    raise LookupError(f"{module} does not define {name}")


def summary(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return the first line of a docstring."""
    return markdown(docstring(node).splitlines()[0]).replace("|", "\\|")


def docstring(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return a docstring without its indentation.

    Raises:
      LookupError: the definition has no docstring.
    """
    text = ast.get_docstring(node)
    if not text:
        raise LookupError(f"{node.name} has no docstring")
    return inspect.cleandoc(text)


def entry(name: str, node: ast.FunctionDef | ast.ClassDef, module: str) -> list[str]:
    """Return the paragraphs about a name. Those of a class include its public methods."""
    path = f"{module.replace('.', '/')}.py"
    parts = [f"## {name}", f"[`alexnet_jax/{path}`](../src/alexnet_jax/{path})"]
    if isinstance(node, ast.FunctionDef):
        return [*parts, signature(node), *paragraphs(docstring(node))]
    parts += paragraphs(docstring(node))
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
            parts += [f"### {name}.{method.name}", signature(method), *paragraphs(docstring(method))]
    return parts


def signature(node: ast.FunctionDef) -> str:
    """Return the signature of a function, or the type of a property, as a block of Python."""
    if any(ast.unparse(each).endswith("property") for each in node.decorator_list):
        return f"```python\n{node.name}: {ast.unparse(node.returns) if node.returns else 'Any'}\n```"
    args = [arg for arg in node.args.args if arg.arg != "self"]
    defaults = [None] * (len(args) - len(node.args.defaults)) + node.args.defaults
    words = []
    for arg, default in zip(args, defaults, strict=True):
        annotation = f": {ast.unparse(arg.annotation)}" if arg.annotation else ""
        words.append(
            f"{arg.arg}{annotation}" + (f" = {ast.unparse(default)}".replace("'", '"') if default else "")
        )
    if node.args.kwarg:
        words.append(f"**{node.args.kwarg.arg}")
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{node.name}({', '.join(words)}){result}"
    if len(line) > 100:
        line = f"{node.name}(\n" + "".join(f"    {word},\n" for word in words) + f"){result}"
    return f"```python\n{line}\n```"


def paragraphs(text: str) -> list[str]:
    """Return the Markdown of a docstring in Google style."""
    parts: list[str] = []
    for block in text.split("\n\n"):
        first, *rest = block.splitlines()
        if found := SECTION.match(first):
            body = textwrap.dedent("\n".join(rest))
            parts += [f"**{found[1]}**", body if found[1] in ("Returns", "Yields") else items(body)]
        else:
            parts.append(block)
    return [markdown(part) for part in parts]


def items(text: str) -> str:
    """Return a list item for each ``name: description``; its other lines are indented."""
    lines = text.splitlines()
    return "\n".join(
        f"  {line.strip()}" if line.startswith(" ") else re.sub(r"^([*\w]+):", r"* `\1`:", line)
        for line in lines
    )


def markdown(text: str) -> str:
    """Replace the double backticks of docstrings by the single ones of Markdown."""
    return text if text.startswith("```") else text.replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page())
