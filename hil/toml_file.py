"""TOML files in and out: typed tables whose every error names file, key, what is wrong and what to do."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from firmware_bridge.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)
Table = dict[str, Any]


def read_document(path: Path, hint: str) -> Table:
    """Give the tables of a TOML file.

    Parameters
    ----------
    path : Path
        The file.
    hint : str
        What to do when there is no such file.

    Raises
    ------
    ConfigError
        For a file that is missing, unreadable, not UTF-8 or not TOML (the message holds line and column).
    """
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {hint}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a directory; give the .toml file inside it") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file (byte {error.start} is no UTF-8); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}; correct that line") from None


def check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first key that is not known, naming the nearest one that is.

    Examples
    --------
    >>> check_keys({"trails": 3}, ["name", "trials"], "c.toml: [campaign]")
    Traceback (most recent call last):
    firmware_bridge.errors.ConfigError: c.toml: [campaign]: unknown key 'trails'; did you mean 'trials'?
    """
    choices = list(known)
    for key in table:
        if key not in choices:
            raise ConfigError(f"{where}: unknown key {key!r}; {advice(key, choices)}")


def advice(word: str, choices: Iterable[str]) -> str:
    """Give what to write instead of a word that is not among the choices: the nearest one, else all of them.

    Examples
    --------
    >>> advice("simm", ["sim", "pty"])
    "did you mean 'sim'?"
    """
    known = list(choices)
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"


def typed_value(value: Any, kind: Any, where: str) -> Any:
    """Give ``value`` as type ``kind`` (an annotation that msgspec understands); ConfigError names ``where``."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`", "")
        raise ConfigError(f"{where} = {_brief(value)}: {_sentence(reason)}") from None


def typed_table(table: Any, struct: type[S], where: str) -> S:
    """Give a table as a struct: unknown keys, missing keys and wrong types are ConfigErrors.

    Parameters
    ----------
    table : object
        What TOML gave; anything but a table is an error.
    struct : type
        A ``msgspec.Struct`` subclass; its constraints (``msgspec.Meta``) are checked too.
    where : str
        File and table, for messages: ``"campaign.toml: [campaign]"``.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: expected a table, got {_brief(table)}; write it as {where.rsplit(maxsplit=1)[-1]}")
    hints = get_type_hints(struct, include_extras=True)
    check_keys(table, struct.__struct_fields__, where)
    for field in msgspec.structs.fields(struct):
        if field.required and field.name not in table:
            raise ConfigError(f"{where}: {field.name} is missing; add {field.name} = ...")
    return struct(**{key: typed_value(value, hints[key], f"{where}: {key}") for key, value in table.items()})


def toml_text(document: Mapping[str, Any]) -> str:
    """Give a document as TOML text that :func:`tomllib.loads` reads back equal.

    Values are strings, numbers, booleans, lists of them, tables and lists of tables; ``None`` is left out.

    Examples
    --------
    >>> print(toml_text({"campaign": {"name": "digits", "trials": 10}}))
    [campaign]
    name = "digits"
    trials = 10
    <BLANKLINE>
    """
    lines: list[str] = []
    _write_table(lines, (), document)
    return "\n".join(lines).lstrip("\n") + "\n"


def _write_table(lines: list[str], path: tuple[str, ...], table: Mapping[str, Any]) -> None:
    held = {key: value for key, value in table.items() if value is not None}
    below = {key: value for key, value in held.items() if _is_table(value)}
    lines += [f"{_key(key)} = {_value(value)}" for key, value in held.items() if key not in below]
    for key, value in below.items():
        name = ".".join(_key(part) for part in (*path, key))
        if isinstance(value, Mapping):
            lines += ["", f"[{name}]"]
            _write_table(lines, (*path, key), value)
            continue
        for entry in value:
            lines += ["", f"[[{name}]]"]
            _write_table(lines, (*path, key), entry)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, (list, tuple)) and bool(value) and all(isinstance(entry, Mapping) for entry in value)
    )


def _key(key: str) -> str:
    plain = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if plain else _quoted(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _sentence(reason: str) -> str:
    reason = reason.split(" - at ", maxsplit=1)[0]
    return reason[:1].lower() + reason[1:]


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
