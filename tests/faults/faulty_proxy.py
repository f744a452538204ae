"""A proxy that parses PostgreSQL's protocol and makes the server fail at a chosen statement.

It replaces the statement by one that fails on the server, so that the state of the transaction stays consistent.
"""

import asyncio
import struct
from collections.abc import Sequence
from typing import NamedTuple

from tests.tcp_proxy import TcpProxy

RAISE = "DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{}'; END $$"
TERMINATE = "SELECT pg_terminate_backend(pg_backend_pid())"
TERMINATED, LOST, READ_ONLY = "terminated connection", "lost response", "read-only server"
FAULTS = {
    "lock timeout": RAISE.format("55P03"),
    TERMINATED: TERMINATE,
    "serialization failure": RAISE.format("40001"),
    READ_ONLY: RAISE.format("25006"),
    "full disk": RAISE.format("53100"),
    LOST: TERMINATE,
}
"""The replacement of the statement; for a lost response, the statement after it."""
LOST_CONNECTIONS = {TERMINATED, LOST, READ_ONLY}
"""The faults after which a read is repeated on another connection."""

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104


class Message(NamedTuple):
    """A message from the service to the server."""

    kind: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        """Return the bytes of the message."""
        return self.kind + struct.pack("!I", len(self.body) + 4) + self.body


class FaultyProxy(TcpProxy):
    """Counts the round trips of all connections since `arm`, and replaces one of them."""

    _fault: str | None = None
    _number = 0
    count = 0
    """The round trips since `arm`."""
    failed: str | None = None
    """The SQL that was replaced."""
    has_committed = False
    """Whether a COMMIT was sent between `arm` and the fault."""
    is_armed = False
    _is_losing = False
    """Whether all responses are dropped until the connection ends."""

    def arm(self, number: int = 0, fault: str | None = None) -> None:
        """Start counting, and replace the round trip of this number; 0 replaces none."""
        self._number, self._fault = number, fault
        self.count, self.failed, self.has_committed, self.is_armed = 0, None, False, True

    def disarm(self) -> None:
        """Relay everything unchanged."""
        self.is_armed = False

    async def relay_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy the messages in groups that end with a response; replace the chosen group."""
        await _relay_startup(reader, writer)
        statements: dict[bytes, str] = {}
        group: list[Message] = []
        while True:
            head = await reader.readexactly(5)
            message = Message(head[:1], await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4))
            if message.kind == b"P":
                name, sql = message.body.split(b"\0", 2)[:2]
                statements[name] = _one_line(sql)
            group.append(message)
            # Sync, Flush, Query, PasswordMessage, Terminate.
            if message.kind in b"SHQpX":
                for each in self._replaced(group, statements):
                    writer.write(each.raw)
                await writer.drain()
                group = []

    async def relay_responses(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy bytes from the server to the service, unless the response is to be lost."""
        while data := await reader.read(1 << 16):
            if not self._is_losing:
                writer.write(data)
                await writer.drain()
        self._is_losing = False

    def _replaced(self, group: list[Message], statements: dict[bytes, str]) -> Sequence[Message]:
        sql = _sql_of(group, statements)
        if not self.is_armed or sql is None:
            return group
        self.count += 1
        if self.count != self._number or self._fault is None:
            self.has_committed |= self.failed is None and sql.startswith("COMMIT")
            return group
        self.failed = sql
        fault = FAULTS[self._fault].encode()
        if self._fault == LOST:
            self._is_losing = True
            return [*group, Message(b"Q", fault + b"\0")]
        if group[0].kind == b"Q":
            # A failed COMMIT ends the transaction.
            return [Message(b"Q", (b"ROLLBACK; " if sql.startswith("COMMIT") else b"") + fault + b"\0")]
        # Unnamed Parse, Bind and Execute, then the original Sync or Flush: asyncpg sends Sync after a failed Flush.
        parse, bind = b"\0" + fault + b"\0" + bytes(2), bytes(2) + bytes(6)
        return [Message(b"P", parse), Message(b"B", bind), Message(b"E", b"\0" + bytes(4)), group[-1]]


async def _relay_startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy the messages without a type byte; StartupMessage or CancelRequest is the last of them."""
    code = _SSL_REQUEST
    while code in {_SSL_REQUEST, _GSS_REQUEST}:
        head = await reader.readexactly(8)
        length, code = struct.unpack("!II", head)
        writer.write(head + await reader.readexactly(length - 8))
        await writer.drain()


def _sql_of(group: list[Message], statements: dict[bytes, str]) -> str | None:
    """Return the SQL that a group parses or executes, None for a group that does neither."""
    for message in group:
        if message.kind == b"Q":
            return _one_line(message.body[:-1])
        if message.kind == b"P":
            return _one_line(message.body.split(b"\0", 2)[1])
        if message.kind == b"B":
            return statements.get(message.body.split(b"\0", 2)[1], "?")
    return None


def _one_line(sql: bytes) -> str:
    return " ".join(sql.decode().split())
