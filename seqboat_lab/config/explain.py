"""Every field of the schema with its docstring, read from the dataclasses themselves."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints


class Field(NamedTuple):
    """One field of a configuration."""

    key: str
    """Full dotted name."""
    value: Any
    kind: str
    """What may stand there, in words."""
    doc: str


def explain(config: Any, prefix: str = "") -> Iterator[Field]:
    """All fields of a config and its sections, in the order of their definition."""
    cls: Any = type(config)
    hints, docs = get_type_hints(cls), field_docs(cls)
    for spec in dataclasses.fields(config):
        value, key = getattr(config, spec.name), prefix + spec.name
        if dataclasses.is_dataclass(value):
            yield from explain(value, f"{key}.")
        else:
            yield Field(key, value, kind_of(hints[spec.name]), docs.get(spec.name, ""))


@cache
def field_docs(cls: type) -> Mapping[str, str]:
    """Field name -> the string that stands below it in the class or one of its bases, as one line."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for line, below in zip(tree.body, tree.body[1:], strict=False):
            match line, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    docs[name] = " ".join(doc.split())
    return docs


def kind_of(hint: Any) -> str:
    """A type annotation in words: `whole number`, `a, b or c`, ..."""
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(filter(None, [", ".join(map(str, get_args(hint)[:-1])), str(get_args(hint)[-1])]))
    if origin is Union or isinstance(hint, type(int | None)):
        return " or ".join("null" if arg is type(None) else kind_of(arg) for arg in get_args(hint))
    if origin in (dict, list):
        return "mapping" if origin is dict else " of ".join(["list", *map(kind_of, get_args(hint))])
    return {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "any value"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


def table(title: str, prefix: str, cls: type) -> list[str]:
    """Markdown: a heading, the class's own words, and a row for each field that is no section."""
    hints, docs = get_type_hints(cls), field_docs(cls)
    rows = ["", f"## {title}", "", " ".join((cls.__doc__ or "").split()), ""]
    fields = [spec for spec in dataclasses.fields(cls) if not _is_section(hints[spec.name], spec)]
    if not fields:
        return [*rows, "It has no fields."]
    rows += ["| field | default | takes | |", "| --- | --- | --- | --- |"]
    for spec in fields:
        made = spec.default if spec.default_factory is dataclasses.MISSING else spec.default_factory()
        default = "" if made is dataclasses.MISSING else f"`{as_yaml(made)}`"
        words = (f"`{prefix}{spec.name}`", default, kind_of(hints[spec.name]), docs.get(spec.name, ""))
        rows.append("| " + " | ".join(word.replace("|", "\\|") for word in words) + " |")
    return rows


def _is_section(hint: Any, spec: dataclasses.Field) -> bool:
    return "among" in spec.metadata or dataclasses.is_dataclass(hint)


def as_yaml(value: Any) -> str:
    """A value as a YAML file would have it, on one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, str) and not value.isidentifier() else str(value)
