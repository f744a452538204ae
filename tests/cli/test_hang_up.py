"""Clients that close or reset the connection in the middle of their request."""

import json
import socket
import struct
from itertools import product
from pathlib import Path

from sqlalchemy.engine import URL

from tests.cli.process import kitsu

PATHS = (("POST", "/auth/login"), ("POST", "/auth/register"), ("POST", "/auth/refresh"), ("POST", "/nowhere"))
BODIES = ("Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{", "Content-Length: 100\r\n\r\n")


def test_client_that_disconnects_is_logged_as_400_without_error_log(tmp_path: Path, catalogue: URL) -> None:
    cases = list(product(PATHS, BODIES, (False, True)))
    with kitsu(tmp_path, "serve", database=catalogue) as service:
        service.serves()
        for (method, path), body, reset in cases:
            head = f"{method} {path} HTTP/1.1\r\nHost: kitsu\r\nContent-Type: application/json\r\n"
            host, _, port = service.address.partition(":")
            with socket.create_connection((host, int(port))) as connection:
                if reset:  # without lingering, close sends a reset
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall((head + body).encode())
                # The header has to reach the application before the connection is closed.
                seen = service.output.count('"route":"/health"')
                service.get("/health")
                service.until(lambda: service.output.count('"route":"/health"') > seen, "it responded to others")  # noqa: B023
        service.until(lambda: service.output.count('"status":400') == len(cases) - len(BODIES) * 2, "all were noticed")
        service.serves()
        assert '"level":"error"' not in service.output
        assert service.errors == ""
        statuses = {
            event["status"]
            for line in service.output.splitlines()
            if line.startswith("{") and (event := json.loads(line)).get("method") == "POST"
        }
    # An unknown path is refused before its body is read.
    assert statuses <= {404, 400}
