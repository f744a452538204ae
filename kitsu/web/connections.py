"""The time limit for clients that read nothing of a response.

Granian has none, and Hyper keeps the connection of an abandoned response until the client has read what is buffered.
So the kernel disconnects them: accepted connections inherit `TCP_USER_TIMEOUT` from the listening socket. Systems
without this option, such as macOS, have no limit.
"""

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog

READ_TIMEOUT_SECONDS = 25  # how long a client may leave sent data unread
UNSENT_BYTES = 64 * 1024  # data of a connection that the kernel buffers before it can send it; some MB by default
STOP_READ_TIMEOUT_SECONDS = 2  # the limit while the worker stops, since it waits for its open responses
DROP_SECONDS = 0.2
LISTENER_CHECK_SECONDS = 0.05
LISTENER_CHECKS = 200
SO_ATTACH_FILTER = 26  # from asm-generic/socket.h of Linux
DROP_SYN = tuple(
    # struct sock_filter of linux/filter.h: code, jumps if true and if false, operand.
    struct.pack("@HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of the TCP header with the flags
        (0x45, 0, 1, 0x02),  # if it has SYN
        (0x06, 0, 0, 0),  # drop the packet
        (0x06, 0, 0, 0xFFFFFFFF),  # otherwise accept it
    )
)
"""A filter of the listening socket. A socket that is closed resets the connections that it has not accepted."""
BYTES_ACKED = struct.Struct("@120xQ")  # `tcpi_bytes_acked` in `struct tcp_info` of linux/tcp.h

log = structlog.get_logger("kitsu.connections")


class ClientConnections:
    """The connections of this process. Limits how long clients may leave data unread."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._port: int | None = None
        self._has_disconnected = False

    async def start(self) -> None:
        """Set the options of the listening socket, which Granian opens later."""
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            self._tasks.append(asyncio.create_task(self._limit()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._has_disconnected:
            # Granian's threads panic if they drop a response after Python has ended.
            await asyncio.sleep(DROP_SECONDS)

    def shorten(self) -> None:
        """Disconnect clients that read nothing for STOP_READ_TIMEOUT_SECONDS. Call it once, when the process stops."""
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            self._tasks.append(asyncio.create_task(self._disconnect()))

    def are_open(self) -> bool:
        """Return whether clients are connected."""
        for connection in _tcp_sockets():
            with suppress(OSError):  # closed meanwhile, or listening
                if connection.getsockname()[1] == self._port and connection.getpeername():
                    return True
        return False

    def refuse_new(self) -> None:
        """Ignore clients that begin to connect; they try again after a second, when this socket is closed."""
        if sys.platform == "linux":
            program = ctypes.create_string_buffer(b"".join(DROP_SYN))
            address = struct.pack("@HP", len(DROP_SYN), ctypes.addressof(program))
            for listener in _tcp_sockets():
                with suppress(OSError):  # not every system for containers has such filters
                    if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, address)

    async def _limit(self) -> None:
        for _ in range(LISTENER_CHECKS):
            for listener in _tcp_sockets():
                if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    self._port = listener.getsockname()[1]
                    _set_options(listener)
            if self._port is not None:
                for connection in _tcp_sockets():  # those that were accepted before
                    if connection.getsockname()[1] == self._port:
                        _set_options(connection)
                return
            await asyncio.sleep(LISTENER_CHECK_SECONDS)
        log.warning("listening socket not found")

    async def _disconnect(self) -> None:
        progress: dict[object, tuple[int, float]] = {}
        while True:
            now = time.monotonic()
            for connection in _tcp_sockets():
                with suppress(OSError):  # closed meanwhile, or listening
                    peer = connection.getpeername()
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.size)
                    (acked,) = BYTES_ACKED.unpack(info)
                    # A client without unacknowledged data waits for its response, and must get it.
                    is_reading = not any(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
                    is_other = connection.getsockname()[1] != self._port
                    if is_other or is_reading or progress.get(peer, (None,))[0] != acked:
                        progress[peer] = acked, now
                    elif now - progress[peer][1] >= STOP_READ_TIMEOUT_SECONDS:
                        connection.shutdown(socket.SHUT_RDWR)
                        self._has_disconnected = True
            await asyncio.sleep(STOP_READ_TIMEOUT_SECONDS / 4)


def _set_options(tcp: socket.socket) -> None:
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, READ_TIMEOUT_SECONDS * 1000)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _tcp_sockets() -> Iterator[socket.socket]:
    """Yield the TCP sockets of this process, under duplicate file descriptors that are closed at the next step."""
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            number = os.dup(int(path.name))
            try:
                found = socket.socket(fileno=number)
            except OSError:  # not a socket
                os.close(number)
                continue
            with found:
                if found.family in {socket.AF_INET, socket.AF_INET6} and found.type == socket.SOCK_STREAM:
                    yield found
