"""Structured Fields (RFC 9651), as far as signatures, digests and certificates need them.

Strict: a key that comes twice, anything behind the end and every type that no field here has
(decimals, tokens, dates, display strings) is refused, where the RFC would let some pass.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from .refusals import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 8192
_MOST_MEMBERS = 16

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]{0,63}")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){0,1024})"')
_INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_BYTES = re.compile(r":([A-Za-z0-9+/]*={0,2}):")
_BOOLEAN = re.compile(r"\?([01])")
_BETWEEN = re.compile(r"[ \t]*,[ \t]*")

Bare = str | int | bytes | bool


@dataclass(frozen=True, slots=True)
class Item:
    """A bare value with its parameters, in the order in which they came."""

    value: Bare
    parameters: Mapping[str, Bare]


@dataclass(frozen=True, slots=True)
class InnerList:
    """Items in parentheses, with the parameters of the whole."""

    items: tuple[Item, ...]
    parameters: Mapping[str, Bare]


def parse_dictionary(text: str) -> dict[str, Item | InnerList]:
    """Parse a Dictionary of at least one member. Raises Refused."""
    text = _bounded(text)
    members: dict[str, Item | InnerList] = {}
    position = 0
    while True:
        key, position = _key(text, position)
        if key in members or len(members) == _MOST_MEMBERS or text[position : position + 1] != "=":
            _refuse()
        member: Item | InnerList
        if text.startswith("(", position + 1):
            member, position = _inner_list(text, position + 2)
        else:
            member, position = _item(text, position + 1)
        members[key] = member
        if position == len(text):
            return members
        between = _BETWEEN.match(text, position)
        if between is None:
            _refuse()
        position = between.end()


def parse_bytes(text: str) -> bytes:
    """Parse an Item that is a Byte Sequence without parameters. Raises Refused."""
    text = _bounded(text)
    item, position = _item(text, 0)
    if position != len(text) or item.parameters or not isinstance(item.value, bytes):
        _refuse()
    return item.value


def serialise(member: InnerList) -> str:
    """Return the one canonical form of an inner list (RFC 9651, section 4.1.1.1)."""
    items = " ".join(_bare(item.value) + _parameters_of(item.parameters) for item in member.items)
    return f"({items}){_parameters_of(member.parameters)}"


def _parameters_of(parameters: Mapping[str, Bare]) -> str:
    return "".join(
        f";{key}" if value is True else f";{key}={_bare(value)}"
        for key, value in parameters.items()
    )


def _bare(value: Bare) -> str:
    if isinstance(value, bool):
        return f"?{value:d}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return f":{base64.b64encode(value).decode()}:"
    return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'


def _bounded(text: str) -> str:
    if len(text) > LONGEST:
        _refuse()
    return text.strip(" ")


def _key(text: str, position: int) -> tuple[str, int]:
    found = _KEY.match(text, position)
    if found is None:
        _refuse()
    return found[0], found.end()


def _inner_list(text: str, position: int) -> tuple[InnerList, int]:
    items: list[Item] = []
    while True:
        after, position = position, _end_of_spaces(text, position)
        if text.startswith(")", position):
            parameters, position = _parameters(text, position + 1)
            return InnerList(tuple(items), parameters), position
        if (items and after == position) or len(items) == _MOST_MEMBERS:
            _refuse()
        item, position = _item(text, position)
        items.append(item)


def _item(text: str, position: int) -> tuple[Item, int]:
    value, position = _value(text, position)
    parameters, position = _parameters(text, position)
    return Item(value, parameters), position


def _parameters(text: str, position: int) -> tuple[dict[str, Bare], int]:
    parameters: dict[str, Bare] = {}
    while text.startswith(";", position):
        key, position = _key(text, _end_of_spaces(text, position + 1))
        if key in parameters or len(parameters) == _MOST_MEMBERS:
            _refuse()
        value: Bare = True
        if text.startswith("=", position):
            value, position = _value(text, position + 1)
        parameters[key] = value
    return parameters, position


def _value(text: str, position: int) -> tuple[Bare, int]:
    if found := _STRING.match(text, position):
        string = found[1]
        return (re.sub(r"\\(.)", r"\1", string) if "\\" in string else string), found.end()
    if found := _INTEGER.match(text, position):
        return int(found[0]), found.end()
    if found := _BYTES.match(text, position):
        try:
            decoded = base64.b64decode(found[1], validate=True)
        except binascii.Error:
            _refuse()
        # One way to write each value: no stray bits behind the last byte.
        if base64.b64encode(decoded).decode() != found[1]:
            _refuse()
        return decoded, found.end()
    if found := _BOOLEAN.match(text, position):
        return found[1] == "1", found.end()
    return _refuse()


def _end_of_spaces(text: str, position: int) -> int:
    while text.startswith(" ", position):
        position += 1
    return position


def _refuse() -> NoReturn:
    raise Refused(Code.FIELD_MALFORMED) from None
