"""A client that sends its body too slowly gets 408, and other clients do not wait for it."""

import json
import socket
import time
from pathlib import Path

from sqlalchemy.engine import URL

from tests.cli.process import kitsu

HEAD = "POST /auth/login HTTP/1.1\r\nHost: kitsu\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"


def test_slow_body_gets_408(tmp_path: Path, catalogue: URL) -> None:
    with kitsu(tmp_path, "serve", database=catalogue, BODY_TIMEOUT_SECONDS="1") as service:
        service.serves()
        host, _, port = service.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(HEAD.encode())
            response = b""
            connection.settimeout(0.2)
            for _ in range(40):
                try:
                    connection.sendall(b" ")
                    piece = connection.recv(4096)
                except TimeoutError:
                    continue
                except OSError:
                    break
                response += piece
                if not piece:
                    break
                time.sleep(0.2)
            else:
                service.fail("it never hung up")
        head, _, body = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body) == {"code": "REQUEST_TIMEOUT", "message": "The request took too long", "details": None}
        service.serves()
        assert '"level":"error"' not in service.output
