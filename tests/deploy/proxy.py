"""Caddy with the Caddyfile of deploy/, on free ports and with its own certificate authority."""

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import httpx

from tests.cli.process import free_port, until
from tests.deploy.deploy_files import DEPLOY

CADDY = shutil.which("caddy")


class Proxy(NamedTuple):
    """The ports of a running Caddy, and a TLS context that trusts its certificates."""

    http_port: int
    port: int
    tls: ssl.SSLContext

    @property
    def url(self) -> str:
        """Return the site's URL."""
        return f"https://localhost:{self.port}"

    def client(self, source: str = "127.0.0.1") -> httpx.Client:
        """Return a client that connects from an address of this machine."""
        transport = httpx.HTTPTransport(verify=self.tls, local_address=source)
        return httpx.Client(base_url=self.url, transport=transport, timeout=20)


@contextmanager
def caddy(folder: Path, upstream: str, file: str = "Caddyfile", **variables: str) -> Iterator[Proxy]:
    """Run Caddy with a file of deploy/ as a proxy of `upstream`, with its files in a folder."""
    assert CADDY is not None, "KITSU_CADDY is set, but Caddy is not installed"
    http_port, port = free_port(), free_port()
    # The ports, the storage and the admin API of a Caddy of this machine may be in use.
    options = (
        f"{{\n\thttp_port {http_port}\n\thttps_port {port}\n\tdefault_bind 127.0.0.1\n\tadmin off\n"
        f"\tskip_install_trust\n\tstorage file_system {folder / 'storage'}\n"
    )
    config = folder / "Caddyfile"
    config.write_text((DEPLOY / file).read_text().replace("\n{\n", f"\n{options}", 1))
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(
            [CADDY, "run", "--config", str(config), "--adapter", "caddyfile"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "KITSU_SITE": "localhost",
                "KITSU_UPSTREAM": upstream,
                **variables,
            },
            stdout=log,
            stderr=log,
        )
        try:
            root = folder / "storage" / "pki" / "authorities" / "local" / "root.crt"
            until(lambda: _serves(root, port) or process.poll() is not None, "Caddy served with its certificate")
            assert process.poll() is None, (folder / "caddy.log").read_text()
            yield Proxy(http_port, port, ssl.create_default_context(cafile=str(root)))
        finally:
            process.terminate()
            process.wait(10)


def _serves(root: Path, port: int) -> bool:
    """Return whether a TLS handshake succeeds: Caddy writes the certificate before it serves."""
    try:
        tls = ssl.create_default_context(cafile=str(root))
        with socket.create_connection(("127.0.0.1", port), 1) as plain:
            tls.wrap_socket(plain, server_hostname="localhost").close()
    except OSError:
        return False
    return True


class _Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._respond(0)

    def do_POST(self) -> None:
        size = 0
        if "content-length" in self.headers:
            size = len(self.rfile.read(int(self.headers["content-length"])))
        else:
            while chunk := int(self.rfile.readline() or b"0", 16):
                size += len(self.rfile.read(chunk))
                self.rfile.readline()
            self.rfile.readline()
        self._respond(size)

    def _respond(self, size: int) -> None:
        text = str(size).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def sink(port: int) -> Iterator[None]:
    """Run a server that reads each body and returns its size."""
    with ThreadingHTTPServer(("127.0.0.1", port), _Sink) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # a test may close the connection early
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
