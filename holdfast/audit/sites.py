"""What nginx serves, read from its whole running configuration (`nginx -T`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*) | (?P<mark>[{};]) |
        "(?P<double>(?:\\.|[^"\\])*)" | '(?P<single>(?:\\.|[^'\\])*)' |
        (?P<word>(?:\$\{[^}]*\}|\\.|[^\s{};"'\\])+)""",
    re.VERBOSE | re.DOTALL,
)
_PATTERNS = ("~", "~*")


class UnreadableConfiguration(Error):
    """A configuration that this reader does not understand; nothing may be concluded from it."""


@dataclass(frozen=True)
class Server:
    """One `server` block: where it listens, for which names, with which locations."""

    listens: tuple[str, ...]
    names: tuple[str, ...]
    locations: tuple[tuple[str, str], ...]

    @property
    def sockets(self) -> tuple[tuple[str, int], ...]:
        """Address and port of each; the address is * or [::] where it is every one."""
        found = (listen.split()[0].rpartition(":") for listen in self.listens)
        return tuple((address or "*", int(port)) for address, _, port in found)

    @property
    def tls(self) -> bool:
        """Whether one of its sockets speaks TLS."""
        return any("ssl" in listen.split()[1:] for listen in self.listens)

    @property
    def paths(self) -> tuple[str, ...]:
        """A path that reaches each location from outside. Raises UnreadableConfiguration."""
        found = ["/"]
        for modifier, path in self.locations:
            if modifier in _PATTERNS:
                raise UnreadableConfiguration(
                    f"No path is known that reaches `location {modifier} {path}` of "
                    f"{' '.join(self.names)}; write it as an exact or a prefix location."
                )
            if not path.startswith("@"):
                found.append(path)
        return tuple(dict.fromkeys(found))


@dataclass
class _Block:
    words: list[str]
    directives: list[list[str]] = field(default_factory=list)
    blocks: list[_Block] = field(default_factory=list)

    def inside(self, name: str) -> list[_Block]:
        """Return the blocks of this name at any depth."""
        found = [block for block in self.blocks if block.words[:1] == [name]]
        return found + [deeper for block in self.blocks for deeper in block.inside(name)]


def servers(configuration: str) -> tuple[Server, ...]:
    """Return every server block of `nginx -T`. Raises UnreadableConfiguration."""
    root = _parse(configuration)
    return tuple(
        Server(
            listens=tuple(" ".join(d[1:]) for d in block.directives if d[0] == "listen"),
            names=tuple(name for d in block.directives if d[0] == "server_name" for name in d[1:]),
            locations=tuple(_location(inner.words) for inner in block.inside("location")),
        )
        for block in root.inside("server")
    )


def answering(everybody: Iterable[Server], address: str) -> tuple[Server, ...]:
    """Return the servers that nginx chooses from at `address`.

    A socket of one address takes its connections away from the socket of every address, port by
    port (nginx, "How nginx processes a request").
    """
    everybody = tuple(everybody)
    literal, all_of_them = (f"[{address}]", "[::]") if ":" in address else (address, "*")
    own = {port for one in everybody for at, port in one.sockets if at == literal}
    return tuple(
        one
        for one in everybody
        if any(at == literal or (at == all_of_them and port not in own) for at, port in one.sockets)
    )


def _location(words: list[str]) -> tuple[str, str]:
    return (words[1], words[2]) if len(words) > 2 else ("", words[1])  # noqa: PLR2004 - [modifier] path


def _parse(text: str) -> _Block:
    root = _Block([])
    stack, words, position = [root], [], 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        token = _TOKEN.match(text, position)
        if not token:
            raise UnreadableConfiguration(f"nginx's configuration at {text[position:][:40]!r}")
        position = token.end()
        mark = token["mark"]
        if token["comment"] is not None:
            continue
        if not mark:
            words.append(
                next(t for t in (token["double"], token["single"], token["word"]) if t is not None)
            )
        elif mark == ";":
            stack[-1].directives.append(words)
            words = []
        elif mark == "{":
            block = _Block(words)
            stack[-1].blocks.append(block)
            stack.append(block)
            words = []
        else:
            stack.pop()
        if not stack:
            raise UnreadableConfiguration("nginx's configuration closes more blocks than it opens")
    if len(stack) != 1 or words:
        raise UnreadableConfiguration("nginx's configuration ends inside a block")
    return root
