# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The message of a fault in config.yaml: pydantic's errors in our words, without anything that may be secret."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin

from sockbpf.record.alert import EXCEEDED, ONGOING
from sockbpf.settings.addresses import without_secrets
from sockbpf.settings.destinations import MODELS
from sockbpf.settings.rules import RuleSettings
from sockbpf.settings.secret import HIDDEN
from sockbpf.settings.yaml_source import REFUSED, Fault, shown
from sockbpf.usage import meant_of

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from sockbpf.settings.yaml_source import Source, Where

SECRETIVE = ("url", "http", "destinations", "store")
"""The keys with secrets below them: a value of the wrong kind is not shown there, a secret may be in it."""

LISTS = {
    "rules": "[{match: {local_port: 443}, thresholds: {recv: 64KiB}}]",
    "events": f"[{EXCEEDED}, {ONGOING}]",
    "types": "[SEND, RECV]",
    "destinations": "[http]",
}


def fault_of(error: ErrorDetails, source: Source, config: type[BaseModel]) -> Fault | None:
    """Return the fault; None when the value was refused before, and has its fault already."""
    kind, where, value = error["type"], _written(error["loc"], source), error["input"]
    if kind == "missing":
        line = source.line(where) if where[1:] else 1
        field = _section(where[:-1], source.value, config).model_fields[str(where[-1])]
        return Fault(line, where, f"required, {field.description}" if field.description else "required")
    if kind == "extra_forbidden":
        return Fault(source.line(where), where, _unknown(where, source.value, config))
    if value is REFUSED or (kind == HIDDEN and isinstance(value, dict) and REFUSED in value.values()):
        return None
    if kind == HIDDEN:
        exactly = (*where, *error["ctx"]["below"])
        # A faulty name of a header is not shown, only its line is.
        named = where[:-2] if where[-1:] == ("[key]",) else exactly
        return Fault(source.line(exactly), named, error["ctx"]["message"])
    if kind == "value_error":
        expected = str(error["ctx"]["error"])
    elif kind in {"tuple_type", "frozen_set_type"}:
        example = LISTS.get(str(where[-1]))
        expected = f"expected a list such as {example}" if example else "expected a list"
    elif kind == "model_type":
        expected = f"expected keys ({', '.join(_known(where, source.value, config))}) with their values"
    elif kind == "dict_type":
        expected = "expected names with their values"
    elif kind in {"literal_error", "enum"}:
        expected = "expected one of " + error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
    else:
        expected = "expected another kind of value"
    where = where[:-1] if where[-1:] == ("[key]",) else where  # it is the key that is no good, not its value
    got = _got(kind, where, value)
    return Fault(source.line(where), where, expected + got + (meant_of(expected, value) if got else ""))


def _written(where: Where, source: Source) -> Where:
    """Return where the file has the value: what may be a list need not be one there."""
    while where and isinstance(where[-1], int) and where not in source.lines:
        where = where[:-1]
    return where


def _got(kind: str, where: Where, value: object) -> str:
    if where and where[0] in SECRETIVE:
        if kind != "value_error" or not isinstance(value, str):
            return ""
        if where[-1] == "url":
            return f", got {without_secrets(value)}"
        if where[-1] in {"name", "type"} and re.search(
            r"[/:@?&=]", value
        ):  # such as a url under the wrong key
            return ""
    return f", got {shown(value)}"


def _known(where: Where, value: object, config: type[BaseModel]) -> list[str]:
    """Return the keys of the section that `where` leads to; `value` is the whole of what the file says."""
    return list(_section(where, value, config).model_fields)


def _section(where: Where, value: object, config: type[BaseModel]) -> type[BaseModel]:
    section: Any = config
    for key in where:
        value = cast("Any", value)[key]
        if isinstance(key, int):
            section = RuleSettings if where[0] == "rules" else MODELS[cast("Any", value)["type"]]
        elif get_origin(section) is dict:
            section = get_args(section)[1]
        elif key not in {"destinations", "rules"}:
            section = section.model_fields[key].annotation
    return cast("type[BaseModel]", section)


def _unknown(where: Where, value: object, config: type[BaseModel]) -> str:
    known = _known(where[:-1], value, config)
    near = difflib.get_close_matches(str(where[-1]).lower(), known, n=1)
    return "unknown key, " + (f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}")
