"""The Dockerfile by its instructions: no engine runs where the tests do."""

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.cli.process import free_port, kitsu
from tests.deploy.deploy_files import DEPLOY, stages

BUILDER, IMAGE = stages()
ROOT = DEPLOY.parent


def test_every_base_is_slim_or_pinned_to_a_major_version() -> None:
    sources = re.findall(r"--from=(\S+)", " ".join(IMAGE.all("COPY")))
    for base in {BUILDER.base, IMAGE.base, *sources} - {"builder"}:
        assert re.fullmatch(r"(python:3\.\d+-slim|postgres:\d+)-bookworm", base), base
    assert BUILDER.base == IMAGE.base


def test_the_builder_installs_wheels_of_locked_hashes_only() -> None:
    installs = re.findall(r"pip install[^&]*", " ".join(BUILDER.all("RUN")))
    assert len(installs) == 3
    *locked, own = installs
    for install in locked:
        assert "--require-hashes" in install
        assert "--only-binary=:all:" in install
    assert own.split()[2:] == ["--no-index", "--no-deps", "/wheels/kitsu-*.whl"]


def test_the_builder_knows_all_that_the_wheel_is_built_with() -> None:
    listed = re.search(r"\^\(([a-z|-]+)\)==", " ".join(BUILDER.all("RUN")))
    assert listed is not None
    needed = {
        re.split(r"[^\w-]", requirement)[0] for requirement in requires("hatchling") or [] if ";" not in requirement
    }
    assert needed | {"hatchling"} <= set(listed[1].split("|"))


def test_the_last_stage_has_no_root_no_compiler_and_no_database() -> None:
    assert IMAGE.all("USER") == ["10001:10001"]
    # Nothing is installed or changed by root after that, and nobody becomes root again.
    after = IMAGE.instructions[IMAGE.instructions.index(("USER", "10001:10001")) + 1 :]
    assert {name for name, _ in after} == {"VOLUME", "EXPOSE", "HEALTHCHECK", "CMD"}
    installed = " ".join(IMAGE.all("RUN"))
    assert not re.search(r"gcc|build-essential|-dev\b|sudo|curl|postgresql", installed)
    assert "pip" not in installed
    copied = " ".join(IMAGE.all("COPY"))
    assert not re.search(r"bin/postgres\b|embedded", copied)
    assert "embedded" not in " ".join(BUILDER.all("RUN"))


def test_it_listens_to_all_keeps_media_in_the_volume_and_stops_by_itself() -> None:
    assert IMAGE.environment["HOST"] == "0.0.0.0"  # noqa: S104 - of a container
    assert IMAGE.environment["PORT"] == "8000"
    assert IMAGE.all("EXPOSE") == ["8000"]
    assert IMAGE.environment["MEDIA_URL"] == "file://" + IMAGE.all("VOLUME")[0] == "file:///var/lib/kitsu"
    # The exec form: a shell would keep SIGTERM to itself.
    assert json.loads(IMAGE.all("CMD")[0]) == ["kitsu", "serve"]
    assert not IMAGE.all("ENTRYPOINT")


def test_every_file_that_is_copied_is_there_and_let_through() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for text in BUILDER.all("COPY") for name in text.split()[:-1]}
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_the_health_check_is_python_and_tells_a_service_that_answers(catalogue: URL, tmp_path: Path) -> None:
    check = json.loads(IMAGE.all("HEALTHCHECK")[0].partition("CMD ")[2])
    assert check[:2] == ["python", "-c"]
    ast.parse(check[2])

    def code(port: str) -> int:
        command = [sys.executable, *check[1:]]
        return subprocess.run(command, env={"PORT": port}, capture_output=True, check=False).returncode

    with kitsu(tmp_path, "serve", database=catalogue) as server:
        server.serves()
        assert code(server.address.rpartition(":")[2]) == 0
    assert code(str(free_port())) == 1


@pytest.mark.parametrize("name", ["pg_dump", "pg_restore"])
def test_the_programs_of_a_backup_are_those_of_the_database_beside_it(name: str) -> None:
    assert any(
        "postgres:18-bookworm /usr/lib/postgresql/18/bin/" in text and name in text for text in IMAGE.all("COPY")
    )
    assert f"{name} --version" in " ".join(IMAGE.all("RUN"))
