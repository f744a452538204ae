"""The statements that PostgreSQL runs, as it has analysed them: with tables and functions by their ids.

`debug_print_rewritten` has the server send the tree of each statement, also of those within triggers, as a message.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import asyncpg
from sqlalchemy import Engine, event

from kitsu.db.pooler import PooledConnection

SETTINGS = {"debug_print_rewritten": "on", "debug_pretty_print": "off", "client_min_messages": "log"}
"""The settings of a database that sends trees."""
_TITLE = "rewritten parse tree:"
_TOKENS = re.compile(r'[{}()]|\[[^\]]*\]|"(?:[^"\\]|\\.)*"|(?:[^\s{}()\\]|\\.)+')


class Node(NamedTuple):
    """A node of a tree, such as `QUERY` or `OPEXPR`, with its fields: words, nodes, and lists of them."""

    kind: str
    fields: dict[str, Any]

    def number(self, name: str) -> int:
        return int(self.fields[name])

    def items(self, name: str) -> list["Node"]:
        """Return the nodes of a field that has one, or a list of them."""
        value = self.fields[name]
        return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Node)]

    def children(self) -> Iterator["Node"]:
        for name in self.fields:
            yield from self.items(name)

    def all(self, *, subqueries: bool = True) -> Iterator["Node"]:
        """Yield the node and what is in it, at any depth."""
        yield self
        for child in self.children():
            if subqueries or child.kind != "QUERY":
                yield from child.all(subqueries=subqueries)


class Statement(NamedTuple):
    """A statement, and where it is if it is one of a function."""

    tree: Node
    context: str | None


@contextmanager
def collected_statements() -> Iterator[list[Statement]]:
    """Collect the statements of all connections that Kitsu opens from now on, to databases that send them."""
    statements: list[Statement] = []
    seen: set[tuple[str, str | None]] = set()

    def add(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
        values = message.as_dict()
        key = (values.get("detail", ""), values.get("context"))
        if values["message"] == _TITLE and key not in seen:
            seen.add(key)
            statements.extend(Statement(tree, key[1]) for tree in parse(key[0]))

    def listen(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.driver_connection.add_log_listener(add)

    fetch = PooledConnection.fetch

    async def heard_fetch(connection: PooledConnection, *args: Any, **named: Any) -> Any:
        connection.add_log_listener(add)
        try:
            return await fetch(connection, *args, **named)
        finally:
            connection.remove_log_listener(add)  # the pool takes none back that has listeners

    event.listen(Engine, "connect", listen)
    try:
        with patch.object(PooledConnection, "fetch", heard_fetch):
            yield statements
    finally:
        event.remove(Engine, "connect", listen)


def parse(text: str) -> list[Node]:
    """Return the statements of a message."""
    return [node for node in _value(_TOKENS.findall(text)[::-1]) if isinstance(node, Node)]


def _value(tokens: list[str]) -> Any:
    token = tokens.pop()
    if token == "(":
        values = []
        while tokens[-1] != ")":
            values.append(_value(tokens))
        tokens.pop()
        return values
    if token != "{":
        return token
    node = Node(tokens.pop(), {})
    while (name := tokens.pop()) != "}":
        values = []
        while tokens[-1] != "}" and not tokens[-1].startswith(":"):
            values.append(_value(tokens))
        node.fields[name.removeprefix(":")] = values[0] if len(values) == 1 else values
    return node
