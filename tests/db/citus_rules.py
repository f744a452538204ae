"""What Citus refuses in statements on tables that are distributed by `user_id`, by the analysed statement.

The rules for changes are those of its planner (`ModifyQuerySupported` and `ErrorIfOnConflictNotSupported` of Citus 13).
A statement that is not of one user is named too: Citus sends it to each server, and can't lock rows there.
Tables that are not distributed are on the coordinator. Citus joins them with the result of each distributed table, but
runs a subquery by itself only if it refers to nothing outside.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import asyncpg

from tests.db.query_trees import Node

SELECT, UPDATE, INSERT, DELETE = range(1, 5)
_RELATION, _SUBQUERY, _TRANSITION_TABLE = 0, 1, 7
_VOLATILITIES = "isv"
_UUID_EQUALS = "2972"
_FUNCTIONS = ("funcid", "opfuncid", "aggfnoid", "winfnoid")


class Catalog(NamedTuple):
    """The system catalog, by the ids in trees."""

    tables: Mapping[int, str]
    user_ids: Mapping[int, str]
    """The numbers of the columns `user_id` of distributed tables."""
    volatilities: Mapping[int, str]
    """Of functions: `i`, `s` or `v`."""
    conversions: Mapping[int, str]
    """Of types: the volatility of their conversion from text and to text."""


async def read_catalog(connection: asyncpg.Connection, distributed: tuple[str, ...]) -> Catalog:
    queries = (
        "SELECT oid::int, relname::text FROM pg_class WHERE relkind = 'r'",
        (
            "SELECT attrelid::int, attnum::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
            f"WHERE attname = 'user_id' AND relname IN {distributed}"
        ),
        "SELECT oid::int, provolatile::text FROM pg_proc",
        (
            "SELECT t.oid::int, greatest(i.provolatile, o.provolatile)::text "
            "FROM pg_type t JOIN pg_proc i ON i.oid = typinput JOIN pg_proc o ON o.oid = typoutput"
        ),
    )
    return Catalog(*[dict(await connection.fetch(query)) for query in queries])


def refusals(statement: Node, catalog: Catalog) -> set[str]:
    """Return what Citus refuses in a statement, and in the queries within it."""
    queries = [node for node in statement.all() if node.kind == "QUERY"]
    return set(chain.from_iterable(_Query(query, catalog).refusals() for query in queries))


def changes(statement: Node, catalog: Catalog) -> set[tuple[str, int]]:
    """Return the distributed tables that a statement changes, with the command."""
    queries = [_Query(node, catalog) for node in statement.all() if node.kind == "QUERY"]
    return {(query.name(query.target), query.command) for query in queries if query.is_distributed(query.target)}


def undistributed(statement: Node, catalog: Catalog) -> set[str]:
    """Return the tables in a statement that are not distributed, and the transition tables."""
    return {
        catalog.tables[table.number("relid")] if table.number("rtekind") == _RELATION else "a transition table"
        for table in _tables(statement)
        if (table.number("rtekind") == _RELATION and table.number("relid") not in catalog.user_ids)
        or table.number("rtekind") == _TRANSITION_TABLE
    }


def _tables(node: Node) -> list[Node]:
    """Return what the queries in a node read or change, at any depth: tables, subqueries and others."""
    return [each for each in node.all() if each.kind == "RANGETBLENTRY"]


def _subqueries(node: Node) -> Iterator[Node]:
    """Yield the queries in a node, without those in them."""
    for child in node.children():
        if child.kind == "QUERY":
            yield child
        else:
            yield from _subqueries(child)


def _refers_outside(node: Node, level: int = 0) -> bool:
    """Return whether a query has a column of a query around it."""
    if node.kind == "VAR":
        return node.number("varlevelsup") > level
    return any(_refers_outside(child, level + (child.kind == "QUERY")) for child in node.children())


class _Query:
    def __init__(self, query: Node, catalog: Catalog) -> None:
        self._query, self._catalog = query, catalog
        self.command = query.number("commandType")
        self._tables = dict(enumerate(query.items("rtable"), start=1))
        self._conditions = query.items("jointree")
        self.target = query.number("resultRelation")

    def is_distributed(self, index: int) -> bool:
        table = self._tables.get(index)
        return (
            table is not None
            and table.number("rtekind") == _RELATION
            and table.number("relid") in self._catalog.user_ids
        )

    def name(self, index: int) -> str:
        return self._catalog.tables[self._tables[index].number("relid")]

    def refusals(self) -> Iterator[str]:
        new = {each.number("exclRelIndex") for each in self._query.items("onConflict")}  # `excluded`
        if self.command == INSERT:
            new.add(self.target)
        for index in filter(self.is_distributed, self._tables.keys() - new):
            if not self._is_of_one_user(index):
                what = "changed" if index == self.target else "read"
                yield f"{self.name(index)}: rows of all users are {what}"
        marks = [mark.number("rti") for mark in self._query.items("rowMarks")]
        if any(map(self.is_distributed, marks)) and not all(map(self.is_distributed, self._tables)):
            yield f"{self.name(marks[0])}: rows are locked in a query of other tables"
        yield from self._problems_of_subqueries([table for index, table in self._tables.items() if index not in new])
        if self.is_distributed(self.target):
            yield from (f"{self.name(self.target)}: {problem}" for problem in self._problems_of_change())

    def _is_of_one_user(self, index: int) -> bool:
        """Return whether a condition has the table's `user_id` equal to a value, to some, or to another column."""
        column = (str(index), self._catalog.user_ids[self._tables[index].number("relid")], "0")
        return any(
            any((arg.fields["varno"], arg.fields["varattno"], arg.fields["varlevelsup"]) == column for arg in columns)
            for condition in self._conditions
            for node in condition.all()
            if node.kind in ("OPEXPR", "SCALARARRAYOPEXPR") and node.fields["opno"] == _UUID_EQUALS
            for columns in [[arg for arg in node.items("args") if arg.kind == "VAR"]]
        )

    def _problems_of_subqueries(self, tables: list[Node]) -> Iterator[str]:
        """Yield the correlated subqueries that run on another server than the query around them."""
        distributed, other = self._names(tables)
        for table in tables:
            inside = self._names(_tables(table)[1:])
            if not inside[1]:  # else it runs before this query
                distributed |= inside[0]
        for subquery in _subqueries(self._query):
            if _refers_outside(subquery):
                inside = self._names(_tables(subquery))
                if inside[0] and (inside[1] or other):
                    yield f"{min(inside[0])}: a correlated subquery in a query of {min(inside[1] | other)}"
                elif inside[1] and distributed and not other:
                    yield f"{min(inside[1])}: a correlated subquery in a query of {min(distributed)}"

    def _names(self, tables: list[Node]) -> tuple[set[str], set[str]]:
        """Return the tables that are distributed, and the others."""
        ids = [table.number("relid") for table in tables if table.number("rtekind") == _RELATION]
        distributed = {self._catalog.tables[each] for each in ids if each in self._catalog.user_ids}
        return distributed, {self._catalog.tables.get(each, "others") for each in ids} - distributed

    def _problems_of_change(self) -> Iterator[str]:
        written = [each for each in self._query.items("targetList") if each.fields["resjunk"] == "false"]
        if self.command == UPDATE:
            if self._volatility(written) == "v":
                yield "a volatile function in SET"
            yield from self._irreducible(written)
        if self._volatility(self._conditions) == "v":
            yield "a volatile function in WHERE"
        yield from self._irreducible(self._conditions)
        if self._volatility(self._query.items("returningList")) != "i":
            yield "a function in RETURNING that is not immutable"
        is_from_query = any(table.number("rtekind") == _SUBQUERY for table in self._tables.values())
        if self.command == INSERT and self._query.fields["hasSubLinks"] == "true" and not is_from_query:
            yield "a subquery in VALUES"
        for conflict in self._query.items("onConflict"):
            values = [each for each in conflict.items("onConflictSet") if each.items("expr")[0].kind != "VAR"]
            if self._volatility(values) != "i":
                yield "a function in DO UPDATE SET that is not immutable"
            if self._volatility([*conflict.items("arbiterWhere"), *conflict.items("onConflictWhere")]) != "i":
                yield "a function in ON CONFLICT WHERE that is not immutable"

    def _irreducible(self, nodes: list[Node]) -> Iterator[str]:
        """Yield why Citus can't replace the stable functions by their values before it sends the statement."""
        for node in nodes:
            if node.kind == "QUERY":
                continue
            if node.kind in ("COALESCEEXPR", "CASEEXPR"):
                if self._volatility([node]) != "i":
                    yield "a function in CASE or COALESCE that is not immutable"
                continue
            if self._volatility_of(node) == "s" and any(each.kind == "VAR" for each in node.all(subqueries=False)):
                yield "a stable function of a column"
            yield from self._irreducible([*node.children()])

    def _volatility(self, nodes: list[Node]) -> str:
        """Return the highest volatility of the functions in expressions, with their subqueries."""
        every = chain.from_iterable(node.all() for node in nodes)
        return max(map(self._volatility_of, every), key=_VOLATILITIES.index, default="i")

    def _volatility_of(self, node: Node) -> str:
        if node.kind == "SQLVALUEFUNCTION":
            return "s"
        if node.kind == "NEXTVALUEEXPR":
            return "v"
        if node.kind == "COERCEVIAIO":
            return self._catalog.conversions[node.number("resulttype")]
        function = next((node.number(name) for name in _FUNCTIONS if name in node.fields), 0)
        return self._catalog.volatilities[function] if function else "i"
