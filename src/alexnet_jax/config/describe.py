"""Descriptions of the settings, for ``--help`` and for ``docs/settings.md``.

``make docs`` writes the page: ``python -m alexnet_jax.config.describe > docs/settings.md``.
"""

from collections.abc import Iterator

from alexnet_jax.config.settings import OF_A_LAYER, SETTINGS, Follows, Setting

_SECTIONS = {
    "": "The run",
    "data": "Data",
    "net": "Network",
    "optimizer": "Optimizer",
    "optimizer.layers.LAYER": "Single layers",
    "schedule": "Learning rate schedule",
}


def text() -> str:
    """Return every ``--config.KEY`` with its default and one line of explanation, for ``--help``."""
    lines = ["settings and their defaults, which a recipe may replace:"]
    for key, setting in _all():
        if key == "net.layers":
            lines += ["  --config.net.layers.LAYER.FIELD=", "      Field of a layer of the recipe."]
            continue
        default = "" if isinstance(setting.default, Follows) else _default(setting)
        follows = f" [{_default(setting)}]" if isinstance(setting.default, Follows) else ""
        lines += [f"  --config.{key}={default}", f"      {setting.doc}{follows}"]
    return "\n".join(lines)


def page() -> str:
    """Return the text of ``docs/settings.md``."""
    parts = [_HEAD]
    for section, title in _SECTIONS.items():
        rows = [(key, setting) for key, setting in _all() if key.rpartition(".")[0] == section]
        parts.append(f"\n## {title}\n\n{_COLUMNS}")
        parts += [_row(key, setting) for key, setting in rows]
    return "".join(parts)


_HEAD = """# Settings

This page is generated from `src/alexnet_jax/config/settings.py` by `make docs`.

A recipe sets a setting with `c.KEY = VALUE`. A command sets it with `--config.KEY=VALUE`. The defaults are
those of the paper, if it has one. A recipe may replace them.

"May change": whether the setting may change when a run resumes. For other changes, use another workdir.
"""
_COLUMNS = "| setting | default | type | may change | explanation |\n|---|---|---|---|---|\n"


def _all() -> Iterator[tuple[str, Setting]]:
    """Yield each setting with its key, as a user types it."""
    for setting in SETTINGS:
        if setting.type is dict:
            yield from ((f"{setting.key}.LAYER.{key}", each) for key, each in OF_A_LAYER.items())
        else:
            yield setting.key, setting


def _default(setting: Setting) -> str:
    match setting.default:
        case Follows(key):
            return f"follows {key}"
        case None:
            return ""
        case default:
            return str(default)


def _row(key: str, setting: Setting) -> str:
    default = _default(setting)
    kind = setting.type.__name__
    if setting.choices:
        kind = " or ".join(f"`{choice}`" for choice in setting.choices)
    elif setting.check is not None:
        kind += f", {setting.check.meaning}"
    changes = "no" if setting.resume == "no" else "yes"
    return f"| `{key}` | {f'`{default}`' if default else ''} | {kind} | {changes} | {setting.doc} |\n"


if __name__ == "__main__":
    print(page(), end="")
