"""Connections to the database with TLS: the certificate is verified when the URL has `sslrootcert`."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from select import select

import pytest
import trustme
from sqlalchemy.engine import URL

from tests.cli.invoke import invoke
from tests.cli.process import kitsu
from tests.cli.test_run_refused import refused


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def encrypted(catalogue: URL, authority: trustme.CA, tmp_path: Path) -> Iterator[URL]:
    """Yield the database behind a TLS proxy with a certificate for localhost; the embedded server has no TLS."""
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    place = f"{catalogue.query['host']}/.s.PGSQL.{catalogue.port or 5432}"

    def serve(plain: socket.socket) -> None:
        with (
            suppress(OSError),
            plain,
            socket.socket(socket.AF_UNIX) as server,
        ):  # a client that does not trust it disconnects
            assert plain.recv(8, socket.MSG_WAITALL)[4:] == bytes.fromhex("04d2162f")  # SSLRequest
            plain.sendall(b"S")
            server.connect(place)
            with context.wrap_socket(plain, server_side=True) as client:
                ends: dict[socket.socket, socket.socket] = {client: server, server: client}
                while True:
                    ready = [client] if client.pending() else select(ends, (), ())[0]
                    for end in ready:
                        if not (data := end.recv(1 << 16)):
                            return
                        ends[end].sendall(data)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, args=(listener,))
        accepting.start()
        yield catalogue.set(host="localhost", port=listener.getsockname()[1]).difference_update_query(["host"])
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def verifying(url: URL, roots: Path | str, mode: str = "verify-full") -> URL:
    return url.update_query_dict({"sslmode": mode, "sslrootcert": str(roots)})


@pytest.mark.slow
def test_database_with_trusted_certificate_serves(encrypted: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "serve", database=verifying(encrypted, tmp_path / "ca.crt")) as service:
        service.serves()
        assert len(service.get("/anime?limit=5").json()) == 5
        assert service.get("/health/ready").json()["status"] == "ok"


def test_database_with_unknown_authority_is_refused(encrypted: URL, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.crt")
    for roots in (tmp_path / "other.crt", "system"):
        error = refused(tmp_path, "serve", database=verifying(encrypted, roots))
        assert f"localhost:{encrypted.port} has an untrusted certificate" in error
        assert "sslrootcert" in error


def test_certificate_for_other_host_is_refused_by_verify_full(encrypted: URL, tmp_path: Path) -> None:
    moved = encrypted.set(host="127.0.0.1")
    error = refused(tmp_path, "migrate", database=verifying(moved, tmp_path / "ca.crt"))
    assert "not valid for '127.0.0.1'" in error
    code, _, errors = invoke(tmp_path, "migrate", database=verifying(moved, tmp_path / "ca.crt", "verify-ca"))
    assert code == 0, errors
