"""The instructions of the Dockerfile. No test builds the image."""

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


def test_base_images_are_pinned_to_a_version() -> None:
    sources = re.findall(r"--from=(\S+)", " ".join(IMAGE.all("COPY")))
    for base in {BUILDER.base, IMAGE.base, *sources} - {"builder"}:
        assert re.fullmatch(r"(python:3\.\d+-slim|postgres:\d+)-bookworm", base), base
    assert BUILDER.base == IMAGE.base


def test_builder_installs_only_locked_wheels() -> None:
    installs = re.findall(r"pip install[^&]*", " ".join(BUILDER.all("RUN")))
    assert len(installs) == 3
    *locked, own = installs
    for install in locked:
        assert "--require-hashes" in install
        assert "--only-binary=:all:" in install
    assert own.split()[2:] == ["--no-index", "--no-deps", "/wheels/kitsu-*.whl"]


def test_builder_has_all_build_dependencies() -> None:
    listed = re.search(r"\^\(([a-z|-]+)\)==", " ".join(BUILDER.all("RUN")))
    assert listed is not None
    needed = {
        re.split(r"[^\w-]", requirement)[0] for requirement in requires("hatchling") or [] if ";" not in requirement
    }
    assert needed | {"hatchling"} <= set(listed[1].split("|"))


def test_last_stage_has_no_root_compiler_or_database() -> None:
    assert IMAGE.all("USER") == ["10001:10001"]
    # No later instruction runs as root.
    after = IMAGE.instructions[IMAGE.instructions.index(("USER", "10001:10001")) + 1 :]
    assert {name for name, _ in after} == {"VOLUME", "EXPOSE", "HEALTHCHECK", "CMD"}
    installed = " ".join(IMAGE.all("RUN"))
    assert not re.search(r"gcc|build-essential|-dev\b|sudo|curl|postgresql", installed)
    assert "pip" not in installed
    copied = " ".join(IMAGE.all("COPY"))
    assert not re.search(r"bin/postgres\b|embedded", copied)
    assert "embedded" not in " ".join(BUILDER.all("RUN"))


def test_last_stage_has_address_volume_and_exec_form_command() -> None:
    assert IMAGE.environment["HOST"] == "0.0.0.0"  # noqa: S104 - in a container
    assert IMAGE.environment["PORT"] == "8000"
    assert IMAGE.all("EXPOSE") == ["8000"]
    assert IMAGE.environment["MEDIA_URL"] == "file://" + IMAGE.all("VOLUME")[0] == "file:///var/lib/kitsu"
    # In the shell form, the shell would not forward SIGTERM.
    assert json.loads(IMAGE.all("CMD")[0]) == ["kitsu", "serve"]
    assert not IMAGE.all("ENTRYPOINT")


def test_copied_files_exist_and_are_not_ignored() -> None:
    included = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for text in BUILDER.all("COPY") for name in text.split()[:-1]}
    assert copied == included
    assert all((ROOT / name).exists() for name in copied)
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_health_check_succeeds_only_with_running_service(catalogue: URL, tmp_path: Path) -> None:
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
def test_backup_program_has_the_version_of_the_database(name: str) -> None:
    assert any(
        "postgres:18-bookworm /usr/lib/postgresql/18/bin/" in text and name in text for text in IMAGE.all("COPY")
    )
    assert f"{name} --version" in " ".join(IMAGE.all("RUN"))
