"""Clients generated from /openapi.json, played against the service. `make test-clients`."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from kitsu.domain.catalogue.importing import load_sample
from tests.cli.process import Process, kitsu
from tests.databases import copy_of, engine_of
from tests.images import plain

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
TYPESCRIPT = HERE / "dist"
"""The types and the compiled scenario; git ignores it. Node looks for packages in the folders above a file."""


def run(*command: str | Path, **environment: str) -> str:
    """Run a command in this folder and return its output. Fails the test with the output if the command fails."""
    finished = subprocess.run(
        command,
        check=False,
        cwd=HERE,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert finished.returncode == 0, f"{' '.join(map(str, command))}:\n{finished.stdout}"
    return finished.stdout


@pytest.fixture(scope="module")
async def service(server: URL, template: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Process]:
    """A service with the sample catalogue."""
    async with copy_of(template, server) as database:
        async with engine_of(database) as engine:
            await load_sample(engine)
        with kitsu(tmp_path_factory.mktemp("service"), "serve", database=database) as service:
            service.serves()
            yield service


@pytest.fixture(scope="module")
def document(service: Process, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI document of the service, as a file."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(service.get("/openapi.json").content)
    return path


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture to upload."""
    path = tmp_path_factory.mktemp("picture") / "avatar.png"
    path.write_bytes(plain("PNG"))
    return path


def test_python_client_compiles_and_plays_a_session(
    service: Process, document: Path, picture: Path, tmp_path: Path
) -> None:
    package = tmp_path / "kitsu_client"
    generate = ("generate", "--meta", "none", "--config", "python.yml", "--fail-on-warning")
    run(sys.executable, "-m", "openapi_python_client", *generate, "--path", document, "--output-path", package)
    check = ("--strict", "--config-file", os.devnull, "--cache-dir", tmp_path / "mypy")
    run(sys.executable, "-m", "mypy", *check, "scenario.py", package, MYPYPATH=str(tmp_path))
    run(sys.executable, "scenario.py", f"http://{service.address}", picture, PYTHONPATH=str(tmp_path))


def test_typescript_client_compiles_and_plays_a_session(service: Process, document: Path, picture: Path) -> None:
    run("npm", "ci", "--no-fund", "--no-audit")
    output = run("npx", "openapi-typescript", document, "--output", TYPESCRIPT / "schema.d.ts")
    assert "warn" not in output.lower(), output
    run("npx", "tsc")
    run("node", TYPESCRIPT / "scenario.js", f"http://{service.address}", picture)
