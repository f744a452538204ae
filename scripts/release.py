"""`make release`: checks that the checkout can become a release, then builds its wheel and sdist into `dist/`.

It publishes nothing and sets no tag.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from tempfile import TemporaryDirectory

BIN = Path(sys.executable).parent
LOCKS = ("requirements.lock", "requirements-otel.lock", "requirements-dev.lock")
CONTENTS = (
    "kitsu/py.typed",
    "kitsu/sample_catalogue.jsonl",
    "kitsu/migrations/env.py",
    "kitsu/migrations/script.py.mako",
)
"""Files of the installed package, beside all revisions."""

_DATED = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", re.MULTILINE)
_CODE = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_UNREACHABLE = re.compile(r"failed to fetch|error sending request|network|dns error|connect", re.IGNORECASE)


class ReleaseError(Exception):
    """Why there is no release, in words for the person who makes it."""


def _run(root: Path, *command: str) -> str:
    # The options of the make that runs this are not for the make that this runs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"`{' '.join(command)}` failed:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def project_version(root: Path) -> str:
    """Return the version of `pyproject.toml`."""
    return str(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def version_problems(root: Path) -> Iterator[str]:
    """Yield where the version differs from that of `pyproject.toml`."""
    version = project_version(root)
    for name, pattern in (("kitsu/__init__.py", _CODE), ("CHANGELOG.md", _DATED)):
        found = pattern.search((root / name).read_text(encoding="utf-8"))
        if found is None:
            yield f"{name} has no {'dated version' if pattern is _DATED else '__version__'}."
        elif found[1] != version:
            yield f"{name} has version {found[1]}, pyproject.toml has {version}."


def git_problems(root: Path) -> Iterator[str]:
    """Yield changes that are not committed, and a tag that this version has already."""
    if changes := _run(root, "git", "status", "--porcelain"):
        yield f"The working tree has changes; commit or remove them:\n{changes.rstrip()}"
    tag = f"v{project_version(root)}"
    if _run(root, "git", "tag", "--list", tag):
        yield f"The tag {tag} exists; set a new version in pyproject.toml, kitsu/__init__.py and CHANGELOG.md."


def lock_problems(root: Path) -> Iterator[str]:
    """Yield lock files that differ from what the commands of `make lock` write without their `--upgrade`."""
    printed = _run(root, "make", "--dry-run", "lock", f"BIN={BIN}")
    commands = [line.split() for line in printed.splitlines() if " pip compile " in line]
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("pyproject.toml", *LOCKS):
            shutil.copy(root / name, copy)
        for command in commands:
            try:
                _run(copy, *(part for part in command if part != "--upgrade"))
            except ReleaseError as error:
                if _UNREACHABLE.search(str(error)):
                    yield f"The package registry can't be reached, so the lock files were not checked. {error}"
                else:
                    yield f"The lock files can't be checked. {error}"
                return
        for name in LOCKS:
            if (copy / name).read_bytes() != (root / name).read_bytes():
                yield f"{name} does not fit pyproject.toml; run `make lock`."


def build(root: Path, folder: Path) -> list[Path]:
    """Build the sdist, and the wheel from it, into a folder and return both."""
    _run(
        root, str(BIN / "uv"), "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "-o", str(folder)
    )
    return sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])


def package_problems(root: Path, package: Path) -> Iterator[str]:
    """Install a wheel or sdist into a folder of its own, and yield what is missing or wrong there."""
    version = project_version(root)
    with TemporaryDirectory() as folder:
        install = (str(BIN / "uv"), "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
        _run(root, *install, "--python", sys.executable, "--target", folder, str(package))
        target = Path(folder)
        info = target / f"kitsu-{version}.dist-info"
        if not info.is_dir():
            yield f"{package.name} does not have version {version}."
            return
        metadata = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
        expected = {"Name": "kitsu", "Version": version, "License-Expression": "MIT", "License-File": "LICENSE"}
        for name, value in expected.items():
            if metadata[name] != value:
                yield f"{package.name}: the metadata field {name} is {metadata[name]!r}, not {value!r}."
        revisions = [f"kitsu/migrations/versions/{path.name}" for path in (root / "migrations/versions").glob("*.py")]
        for name in (*CONTENTS, *revisions, f"{info.name}/licenses/LICENSE"):
            if not (target / name).is_file():
                yield f"{package.name} lacks {name}."
        for name in ("tests", "deploy", "scripts"):
            if (target / name).exists():
                yield f"{package.name} installs {name}/, which belongs to the checkout only."


def _refuse_if(problems: Iterator[str]) -> None:
    if found := list(problems):
        raise ReleaseError("\n".join(found))


def release(root: Path) -> list[Path]:
    """Check the checkout, build and check both packages, and put them into `dist/`. Raises ReleaseError."""
    _refuse_if(problem for check in (version_problems, git_problems, lock_problems) for problem in check(root))
    with TemporaryDirectory() as folder:
        built = build(root, Path(folder))
        if len(built) != 2:
            raise ReleaseError(f"Expected a wheel and an sdist, got {[path.name for path in built]}.")
        _refuse_if(problem for package in built for problem in package_problems(root, package))
        (root / "dist").mkdir(exist_ok=True)
        return [Path(shutil.copy(package, root / "dist")) for package in built]


def main() -> int:
    """Make the release of the checkout in the working directory and return the exit code."""
    try:
        packages = release(Path.cwd())
    except ReleaseError as error:
        print(f"No release:\n{error}", file=sys.stderr)
        return 1
    for package in packages:
        print(f"Built {package.relative_to(Path.cwd())}")
    print(f"Next: git tag v{project_version(Path.cwd())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
