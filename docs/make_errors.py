"""Write docs/errors.md from the messages in the source.

    python docs/make_errors.py

A message is the text of an exception that ends a command, or a line or a note about a problem. Messages are
parsed from the source files, which are not imported. Only the advice is written here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parent.parent / "src" / "alexnet_jax"
PAGE = Path(__file__).parent / "errors.md"
STATUSES = {
    "LostProcess": "75",
    "Stopped": "75",
    "UserError": "2",
    "RunError": "1",
    "Interrupted": "signal",
    "BucketError": "1",
    "BadImage": "reason",
    "OtherFormat": "reason",
    "ChildProcessError": "reason",
    "ValueError": "reason",
}
"""The status of each exception, or of its base, or `reason`."""

PRINTS = ("say", "note", "complain")
PROBLEM = re.compile(r"\bnote: |can't|damaged|failed|left out|waiting|trying again|not learning")
"""What a printed line about a problem contains."""

PASSED_ON = ("str(error)", "answer['problem']", "known")
"""Texts of exceptions that come from elsewhere: a cause, another process, a constructor."""

SECTIONS = {
    "The command, recipes and settings": ("cli", "config", "layers", "variants", "net"),
    "Data": ("data",),
    "Training, evaluation, checkpoints and workdirs": ("loops", "training"),
    "Export, and weights of other frameworks": ("weights",),
    "Devices and versions": ("runtime",),
    "Several processes, and what has stopped": ("parallel",),
    "Buckets": ("remote",),
    "Sweeps": ("sweep",),
    "Detection": ("detection",),
    "Reports, figures and plans": ("report", "paper", "plan"),
    "Faces": ("faces",),
    "Files": ("schema", "files", "text"),
}
"""The packages and modules of each section."""

ADVICE = {
    "is not a Python file": "Pass a file that ends in `.py`, or a name that `alexnet-jax recipes` lists.",
    "can't be loaded: …": "The text after the colon is Python's error. Correct the recipe.",
    "layer, which PyTorch does not have": "Export it with `--to=stablehlo`.",
    "does not fit …:": "Pass the weights of the network that the message names.",
    "no file of Caffe": "`--weights` must be a `.caffemodel`, and `--mean` a `.binaryproto`.",
    "is neither BVLC's": "Pass the `.caffemodel` of one of these, or of a network fine-tuned from it.",
    "not an image of the formats": "Convert it to JPEG or PNG.",
    "TFDS has no data set": "Correct the name: https://www.tensorflow.org/datasets/catalog lists them.",
    "its splits may overlap": "The error rate may be too low. Evaluate the data of the training.",
    "the loss on … is …, so the network has diverged": "Evaluate an earlier checkpoint with `--step`.",
    "is left out": "The command continues with the others; the status is 2. Repair or convert this one.",
    "is damaged and skipped": "Nothing: the run resumes from the checkpoint before it.",
    "was trained on other classes than": "The networks of an ensemble must have the same classes.",
    "has another number of outputs than": "The networks of an ensemble must have the same classes.",
    "takes images of": "The networks of an ensemble must have the same `data.image_size`.",
    "takes images with data.resize": "The networks of an ensemble must have the same `data.resize`.",
    "JAX cannot use this machine's devices": "The text is JAX's. `JAX_PLATFORMS=cpu` trains on the CPU.",
    "on host …": "Read the output of that process: the machine may have lost its power or its network.",
    "started in time; missing": "Start these, or read their output. They must reach HOST:PORT.",
    "no process 0 at": "Start process 0, or correct HOST:PORT. A firewall may be in between.",
    "minutes, since": "See [the watchdog](parallelism.md#how-they-meet-and-end).",
    "has locked": "Nothing: if the other run is not alive, this one starts by itself.",
    "can't lock": "Run the same command again.",
    "a collective of unknown origin": "This is a bug: please report the command.",
}
"""What to do, by words of the message, if the message does not say it."""

HEAD = """\
# Messages and statuses

<!-- Written by docs/make_errors.py from the messages in the source: edit those, then run `make docs`. -->

A command reports a problem in one line on standard error, which begins with `alexnet-jax: `. Search this
page for some words of it. In the tables, … stands for a part that varies, (A / B) for A or B, and [A] for a
part that may be absent. Most messages say what to do, after a colon. Then the last column is empty.

## Statuses

| status | meaning | what to do |
|---|---|---|
| 0 | done | |
| 1 | failed: the loss is not finite, the disk is full, a task of a sweep failed, a bug | read the line |
| 2 | refused: a setting, a file or the environment is wrong; or `predict` or `features` left out an \
image | read the line; the same command will be refused again |
| 75 | another process was lost: it ended, or did not answer for 20 seconds. Or a step, the loader or a \
writer has stopped. Or the small process that forwards JAX's connections was killed | start the same command \
again, on all hosts |
| 129, 130, 138, 143 | stopped by SIGHUP, SIGINT (Ctrl-C), SIGUSR1 or SIGTERM; `train` has saved the run | \
start the same command again |
| 134, 137 | killed by SIGABRT or SIGKILL, often because memory ran out | start the same command again |
| 141 | the reader of the output has ended, as with `\\| head` | |

In the tables below, the status may also be:

* `signal`: 128 + the number of the signal that stopped the command.
* `note`: the command continues.
* `reason`: this text is part of another message, usually in parentheses. In Python it may be a `ValueError`.

A line such as `No space left on device: FILE` (status 1) is the system's own. So are two others:

* `Too many open files: raise the limit with ulimit -n 4096`
* `memory or threads have run out: end other programs, or raise the limit (ulimit, or the job's)`. Limit
  memory with cgroups, as SLURM and Kubernetes do, not with `ulimit -d` or `-v`. If an allocation fails, the C
  library may end the command (127); XLA for CPUs may abort (134), or compute other numbers without an error.

A traceback is a bug: please report it. But if the current folder has a file with the name of a module of
Python, such as `types.py`, Python itself may fail before `python -m alexnet_jax` begins. Then type
`alexnet-jax` or `python -P -m alexnet_jax`.
"""


class Message(NamedTuple):
    """A message.

    Attributes:
      module: path of its module in `SOURCE`.
      text: its text, with … for each part that varies.
      status: status of the command; ``signal``, ``reason`` or ``note``.
    """

    module: str
    text: str
    status: str


def page() -> str:
    """Return the text of docs/errors.md."""
    found = messages()
    parts = [HEAD]
    unused, there = set(ADVICE), {message.module.split("/")[0].removesuffix(".py") for message in found}
    if unknown := there - {package for packages in SECTIONS.values() for package in packages}:
        raise LookupError(f"SECTIONS lacks {unknown}")
    for title, packages in SECTIONS.items():
        parts.append(f"\n## {title}\n\n| message | status | what to do |\n|---|---|---|\n")
        for module, text, status in found:
            if module.split("/")[0].removesuffix(".py") in packages:
                keys = [key for key in ADVICE if key in text]
                unused -= set(keys)
                row = f"| `{escaped(text)}` | {status} | {' '.join(ADVICE[key] for key in keys)} |\n"
                parts += [row] if row not in parts else []
    if unused:
        raise LookupError(f"no message contains {unused}")
    return "".join(parts)


def escaped(text: str) -> str:
    """Return a text for a cell of a table."""
    return text.replace("|", "\\|")


def messages() -> list[Message]:
    """Return all messages in the order of the source, each once in its module."""
    program = Program()
    found: dict[Message, None] = {}
    for module, tree in program.modules.items():
        for scope, status, expression in program.said(module, tree):
            texts = Texts(program, module, scope).of(expression)
            ends = status not in ("note", "reason")
            if ends and not texts and ast.unparse(expression) not in PASSED_ON:
                raise LookupError(f"{module}: {ast.unparse(expression)} has no text: add it to PASSED_ON")
            for text in texts:
                line = " ".join(text.split()).removeprefix("alexnet-jax: ")
                line = re.sub(r"\(\(([^()]*)\)\)", r"(\1)", re.sub("…+", "…", line))
                is_problem = status != "note" or PROBLEM.search(line)
                if is_problem and re.search("[a-z]{3}.*[a-z]{2}", line.removeprefix("note: ")):
                    found[Message(module, line, status)] = None
    return list(found)


class Program:
    """The source files of the package."""

    def __init__(self) -> None:
        self.modules = {
            path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text())
            for path in sorted(SOURCE.rglob("*.py"))
        }
        self._functions = {module: functions_by_name(tree) for module, tree in self.modules.items()}
        self._constants = {module: constants_by_name(tree) for module, tree in self.modules.items()}
        self._bases = {
            node.name: [ast.unparse(base) for base in node.bases]
            for tree in self.modules.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        }

    def status(self, name: str) -> str | None:
        """Return the status of an exception; None if this is another name."""
        found = [self.status(base) for base in self._bases.get(name, [])]
        return STATUSES.get(name) or next(filter(None, found), None)

    def said(
        self, module: str, node: ast.AST, scope: ast.AST | None = None, within: str = ""
    ) -> Iterator[tuple[ast.AST, str, ast.expr]]:
        """Yield the function, the status and the text of each message below a node."""
        for child in ast.iter_child_nodes(node):
            inner, owner = scope, within
            if isinstance(child, ast.FunctionDef):
                inner = scope or child
            if isinstance(child, ast.ClassDef):
                owner = child.name
            if isinstance(child, ast.Call) and child.args:
                name = ast.unparse(child.func).rpartition(".")[2]
                if ast.unparse(child.func) == "super().__init__":
                    name = owner
                if status := "note" if name in PRINTS else self.status(name):
                    yield inner or self.modules[module], status, child.args[0 if status == "note" else -1]
            yield from self.said(module, child, inner, owner)

    def functions(self, module: str, name: str) -> list[ast.FunctionDef]:
        """Return the functions of this name, in the module or else in all modules."""
        own = self._functions[module].get(name, [])
        return own or [node for named in self._functions.values() for node in named.get(name, [])]

    def constants(self, module: str, name: str) -> list[ast.expr]:
        """Return the value of a constant in the module, or else in all modules."""
        own = self._constants[module].get(name, [])
        return own or [value for named in self._constants.values() for value in named.get(name, [])]


def functions_by_name(tree: ast.Module) -> dict[str, list[ast.FunctionDef]]:
    """Return the functions and methods of a module by name."""
    named: dict[str, list[ast.FunctionDef]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            named.setdefault(node.name, []).append(node)
    return named


def constants_by_name(tree: ast.Module) -> dict[str, list[ast.expr]]:
    """Return the values that a module assigns, by name."""
    named: dict[str, list[ast.expr]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                named.setdefault(ast.unparse(target), []).append(node.value)
    return named


class Texts:
    """The texts that an expression may stand for.

    Args:
      program: the source files.
      module: module of the expression.
      scope: function of the expression.
      seen: names that are being looked up, which are not looked up again.
    """

    def __init__(
        self, program: Program, module: str, scope: ast.AST, seen: frozenset[str] = frozenset()
    ) -> None:
        self._program, self._module, self._scope, self._seen = program, module, scope, seen

    def of(self, node: ast.expr) -> list[str]:
        """Return the texts, with … for each part that varies; none if they come from elsewhere."""
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr(values=values):
                return ["".join(self._part(value) for value in values)]
            case ast.IfExp(body=one, orelse=other):
                return [*self.of(one), *self.of(other)]
            case ast.BoolOp(values=values):
                return [text for value in values for text in self.of(value) or ["…"]]
            case ast.BinOp(left=one, op=operator, right=other):
                between = "/" if isinstance(operator, ast.Div) else ""
                return [between.join((self.of(each) or ["…"])[0] for each in (one, other))]
            case ast.Subscript(value=ast.Name() as table):
                return self.of(table)
            case ast.Dict(values=values):
                return [text for value in values for text in self.of(value)]
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format")):
                return [text.replace("{}", "…")]
            case ast.Call(func=function):
                return self._returned(ast.unparse(function).rpartition(".")[2])
            case ast.Name() | ast.Attribute():
                return self._assigned(ast.unparse(node))[0]
        return []

    def _part(self, node: ast.expr) -> str:
        """Return what a part of an f-string stands for: a text, some texts, or …."""
        if isinstance(node, ast.Constant):
            return str(node.value)
        assert isinstance(node, ast.FormattedValue)
        if isinstance(node.value, ast.Call | ast.Attribute):
            return "…"
        if isinstance(node.value, ast.Name) and self._assigned(node.value.id)[1]:
            return "…"  # it is listed as a separate message
        texts = {text: None for text in self.of(node.value) if not text or re.search("…|[a-z]{3}", text)}
        written = " / ".join(filter(None, texts))
        if not re.search("[a-z]{3}", written):
            return "…"
        if "" in texts:
            return f"[{written}]"
        return f"({written})" if len(texts) > 1 else written

    def _returned(self, name: str) -> list[str]:
        if name in self._seen or name in ("str", "join", "text", "get"):
            return []
        return [
            text
            for function in self._program.functions(self._module, name)
            for node in ast.walk(function)
            if isinstance(node, ast.Return) and node.value is not None
            for text in Texts(self._program, self._module, function, self._seen | {name}).of(node.value)
        ]

    def _assigned(self, name: str) -> tuple[list[str], str]:
        """Return the texts that are assigned to a name, and what is added to those of the same function."""
        key = f"{name} at {getattr(self._scope, 'lineno', 0)}"
        if key in self._seen:
            return [], ""
        inner = Texts(self._program, self._module, self._scope, self._seen | {key})
        scope = self._program.modules[self._module] if "." in name else self._scope
        values: list[ast.expr] = []
        added = ""
        for node in sorted(ast.walk(scope), key=lambda node: getattr(node, "lineno", 0)):
            match node:
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=each)):
                    values += [each[i] for i, target in enumerate(names) if ast.unparse(target) == name]
                case ast.Assign(targets=targets, value=value) if name in map(ast.unparse, targets):
                    values.append(value)
                case ast.NamedExpr(target=target, value=value) if ast.unparse(target) == name:
                    values.append(value)
                case ast.AugAssign(target=target, value=value) if ast.unparse(target) == name:
                    added += "".join(f"[{text}]" for text in inner.of(value))
        values = values or self._program.constants(self._module, name)
        texts = [(text, value) for value in values for text in inner.of(value)]
        return [text + ("" if isinstance(value, ast.Call) else added) for text, value in texts], added


if __name__ == "__main__":
    PAGE.write_text(page())
