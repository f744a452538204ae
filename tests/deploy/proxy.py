"""Caddy and nginx with the files of deploy/, on free ports; Caddy with its own certificate authority."""

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import httpx

from tests.cli.process import free_port, until
from tests.deploy.deploy_files import DEPLOY

CADDY = shutil.which("caddy")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class Proxy(NamedTuple):
    """The ports of a running proxy, and a TLS context that trusts its certificates."""

    http_port: int
    port: int
    tls: ssl.SSLContext
    scheme: str = "https"

    @property
    def url(self) -> str:
        """Return the site's URL."""
        return f"{self.scheme}://localhost:{self.port}"

    def client(self, source: str = "127.0.0.1") -> httpx.Client:
        """Return a client that connects from an address of this machine."""
        transport = httpx.HTTPTransport(verify=self.tls, local_address=source)
        return httpx.Client(base_url=self.url, transport=transport, timeout=20)


@contextmanager
def caddy(folder: Path, upstream: str, file: str = "Caddyfile", **variables: str) -> Iterator[Proxy]:
    """Run Caddy with a file of deploy/ as a proxy of `upstream`, with its files in a folder.

    Several upstreams have blanks between them.
    """
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
                **({"KITSU_INSTANCES": "several"} if " " in upstream else {}),
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


@contextmanager
def nginx(
    folder: Path, upstream: str, *, others: Sequence[str] = (), front_end: str = "", file: str = "nginx.conf"
) -> Iterator[Proxy]:
    """Run nginx with a file of deploy/, without TLS, and with its files in a folder. `others`: more upstreams."""
    assert NGINX is not None, "KITSU_NGINX is set, but nginx is not installed"
    port = free_port()
    example = (DEPLOY / file).read_text()
    example = re.sub(r"\n *ssl_certificate.*", "", example).replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    example = example.replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    for number, other in enumerate(others, 1):
        assert f"# server 127.0.0.1:{8000 + number}" in example
        example = example.replace(f"# server 127.0.0.1:{8000 + number}", f"server {other}")
    example = example.replace("127.0.0.1:8000", upstream).replace("127.0.0.1:3000", front_end)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    config, log = folder / "nginx.conf", folder / "nginx.log"
    # As root, the workers of nginx would run as a user who can't enter the folder.
    user = "user root; " if os.geteuid() == 0 else ""
    config.write_text(
        f"{user}daemon off; pid {folder / 'nginx.pid'}; error_log {log}; events {{}}\n"
        f"http {{ access_log off; {paths}\n{example}}}\n"
    )
    process = subprocess.Popen([NGINX, "-c", str(config), "-p", str(folder), "-e", str(log)])
    try:
        until(lambda: _accepts(port) or process.poll() is not None, "nginx served")
        assert process.poll() is None, log.read_text()
        yield Proxy(port, port, ssl.create_default_context(), "http")
    finally:
        process.terminate()
        process.wait(10)


def _accepts(port: int) -> bool:
    """Return whether a connection succeeds."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


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
