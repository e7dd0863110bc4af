"""One recipe, `rbt.toml`: TOML tables plus `--set section.key=value`, into frozen dataclasses.

Each section's dataclass lives beside the code it configures, in a config.py that imports the standard library
alone. They are named here as text and looked up when a recipe is read, so that every command checks the keys
and types of all sections while this module stays at the bottom of the layers.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import import_module, resources
from pathlib import Path
from typing import Any, TypeVar

from rbt.errors import ConfigError

SECTIONS: dict[str, str] = {
    "corpus": "rbt.corpus.config:CorpusConfig",
    "source": "rbt.corpus.config:SourceConfig",
    "clean": "rbt.corpus.config:CleanConfig",
    "quality": "rbt.corpus.config:QualityConfig",
    "decontaminate": "rbt.corpus.config:DecontaminateConfig",
    "deduplicate": "rbt.corpus.config:DeduplicateConfig",
    "bpe": "rbt.packing.config:BpeConfig",
    "pack": "rbt.packing.config:PackConfig",
    "model": "rbt.trainer.config:ModelConfig",
    "data": "rbt.trainer.config:DataConfig",
    "schedule": "rbt.trainer.config:ScheduleConfig",
    "run": "rbt.trainer.config:RunConfig",
    "finetune": "rbt.finetune.config:FinetuneConfig",
}
LISTS = frozenset({"source"})
DEFAULT_RECIPE = "rbt.toml"

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A checked recipe: the sections as dataclasses, and the folder its paths are relative to."""

    origin: str
    base: Path
    sections: Mapping[str, Any]
    settings: tuple[str, ...] = ()  # the --set options that were applied

    def section(self, name: str, kind: type[T]) -> T:
        """The section `name`, which is of the dataclass `kind`."""
        value = self.sections[name]
        assert isinstance(value, kind)
        return value

    def sources(self, kind: type[T]) -> tuple[T, ...]:
        """All `[[source]]` tables in order."""
        return typing.cast(tuple[T, ...], self.sections["source"])


def dataclass_of(section: str) -> type[Any]:
    """The dataclass that describes a section."""
    module, name = SECTIONS[section].split(":")
    return typing.cast(type[Any], getattr(import_module(module), name))


def recipe_names() -> list[str]:
    """Names of the recipes shipped with the package."""
    folder = resources.files("rbt") / "recipes"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def shipped_recipe(name: str) -> str:
    """Text of a shipped recipe."""
    if name not in recipe_names():
        raise ConfigError(f"expected a recipe, one of {', '.join(recipe_names())}", found=repr(name))
    return (resources.files("rbt") / "recipes" / f"{name}.toml").read_text("utf-8")


def _read(recipe: str | None) -> tuple[str, Path, str]:
    """(origin, base, text) of a recipe file, a shipped name, or ./rbt.toml where there is one."""
    if recipe is None:
        default = Path(DEFAULT_RECIPE)
        return (str(default), Path(), _read_text(default)) if default.is_file() else ("defaults", Path(), "")
    path = Path(recipe)
    if path.is_file():
        return str(path), path.parent, _read_text(path)
    if recipe in recipe_names():
        return f"recipe {recipe}", Path(), shipped_recipe(recipe)
    raise ConfigError(
        "expected a recipe file or a shipped recipe's name", path=recipe, found="neither",
        cure=f"shipped: {', '.join(recipe_names())}; `rbt init` writes an rbt.toml",
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")  # Windows editors put a byte order mark first
    except UnicodeDecodeError as error:
        raise ConfigError("expected UTF-8", path=path, found=str(error), cure="save the recipe as UTF-8") from error


def _parse_value(text: str) -> Any:
    """A TOML value; a bare word is a string, so that --set model.size=base needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def apply_settings(tables: dict[str, Any], settings: Sequence[str]) -> None:
    """Apply `section.key=value` strings in place; for a list, `source.0.key=value`."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        names = key.strip().split(".")
        if not equals or len(names) < 2:
            raise ConfigError("expected --set section.key=value", found=repr(setting))
        target: Any = tables
        if names[0] in LISTS:
            rows = tables.get(names[0], [])
            if len(names) != 3 or not names[1].isdigit() or int(names[1]) >= len(rows):
                raise ConfigError(
                    f"expected --set {names[0]}.N.key=value with N below {len(rows)}", found=repr(setting)
                )
            target = rows[int(names[1])]
        elif len(names) == 2:
            target = tables.setdefault(names[0], {})
        else:
            raise ConfigError("expected --set section.key=value", found=repr(setting))
        target[names[-1]] = _parse_value(text.strip())


def _matches(value: Any, annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, option) for option in typing.get_args(annotation))
    if origin is typing.Literal:
        return value in typing.get_args(annotation)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_matches(v, typing.get_args(annotation)[0]) for v in value)
    if origin in (dict, Mapping):
        kinds = typing.get_args(annotation)
        return isinstance(value, dict) and all(
            _matches(part, kind) for item in value.items() for part, kind in zip(item, kinds, strict=True)
        )
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation)


WORDS: dict[type, str] = {
    str: "text in quotes", bool: "true or false", int: "a whole number", float: "a number", type(None): "nothing",
}


def type_in_words(annotation: Any) -> str:
    """What a key's value must be, for a person."""
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(repr(option) for option in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        return f"a list, [...], of {type_in_words(typing.get_args(annotation)[0])}"
    if typing.get_origin(annotation) is dict:
        keys = typing.get_args(annotation)[0]
        return 'a table, { ours = "theirs" }' if keys is str else f"a table of text by {type_in_words(keys)}"
    if isinstance(annotation, type):
        return WORDS.get(annotation, annotation.__name__)
    return " or ".join(type_in_words(option) for option in typing.get_args(annotation)) or str(annotation)


def to_dataclass(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build a frozen dataclass from a TOML table. An unknown key or a wrong type is a ConfigError naming it."""
    annotations = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(typing.cast(Any, kind))]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in names:
            raise ConfigError(
                f"unknown key {key!r} in [{where}]", cure=f"known keys: {', '.join(names)}"
            )
        if not _matches(value, annotations[key]):
            raise ConfigError(f"[{where}] {key}: expected {type_in_words(annotations[key])}", found=repr(value))
        if annotations[key] is float:
            value = float(value)
        values[key] = tuple(value) if isinstance(value, list) else value
    for field in dataclasses.fields(typing.cast(Any, kind)):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise ConfigError(f"[{where}]: expected the key {field.name!r}", found="none")
    return kind(**values)


def _section(name: str, value: Any) -> Any:
    kind = dataclass_of(name)
    if name in LISTS:
        if not isinstance(value, list):
            raise ConfigError(f"expected [[{name}]] tables", found=f"[{name}]")
        return tuple(to_dataclass(kind, row, f"{name} {number}") for number, row in enumerate(value))
    if not isinstance(value, dict):
        raise ConfigError(f"expected a table [{name}]", found=repr(value))
    return to_dataclass(kind, value, name)


def parse_tables(text: str, origin: str) -> dict[str, Any]:
    """TOML text to tables, or a ConfigError with its line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("expected TOML", path=origin, found=str(error)) from error


def load_recipe(recipe: str | None = None, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe (a file, a shipped name, ./rbt.toml, or nothing but defaults), apply settings, check all."""
    origin, base, text = _read(recipe)
    tables = parse_tables(text, origin)
    apply_settings(tables, settings)
    for name in tables:
        if name not in SECTIONS:
            raise ConfigError(f"unknown section [{name}]", path=origin, cure=f"known sections: {', '.join(SECTIONS)}")
    try:
        sections = {name: _section(name, tables.get(name, [] if name in LISTS else {})) for name in SECTIONS}
    except ConfigError as error:
        raise ConfigError(str(error), path=origin) from error
    return Recipe(origin, base, sections, tuple(settings))


def to_table(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON/TOML values."""
    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value

    return {field.name: plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
