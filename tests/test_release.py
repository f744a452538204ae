"""`make release`: the problems that it reports, and the packages that it builds."""

import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from scripts import release
from scripts.release import ReleaseError

ROOT = Path(__file__).parent.parent
PYPROJECT = '[project]\nname = "kitsu"\nversion = "1.2.3"\ndependencies = ["no-such-package-of-kitsu"]\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a small checkout at version 1.2.3, with lock files that are outdated."""
    root = tmp_path / "checkout"
    (root / "kitsu").mkdir(parents=True)
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "kitsu" / "__init__.py").write_text('"""Kitsu."""\n\n__version__ = "1.2.3"\n')
    (root / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-31\n\n## [1.2.2] - 2026-01-01\n"
    )
    shutil.copy(ROOT / "Makefile", root)
    for name in release.LOCKS:
        (root / name).write_text("a==1\n")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "Add all")
    return root


def git(root: Path, *arguments: str) -> None:
    """Run git in the checkout."""
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def fake_uv(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace uv by a shell script."""
    (folder / "uv").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "uv").chmod(0o755)
    monkeypatch.setattr(release, "BIN", folder)


def test_clean_checkout_with_one_version_has_no_problems(checkout: Path) -> None:
    assert [*release.version_problems(checkout), *release.git_problems(checkout)] == []


def test_other_version_in_code_is_reported(checkout: Path) -> None:
    (checkout / "kitsu" / "__init__.py").write_text('__version__ = "1.2.2"\n')
    assert [*release.version_problems(checkout)] == ["kitsu/__init__.py has version 1.2.2, pyproject.toml has 1.2.3."]


@pytest.mark.parametrize(
    ("changelog", "problem"),
    [
        (
            "## [1.2.2] - 2026-01-01\n\n## [1.2.3] - 2025-12-31\n",
            "CHANGELOG.md has version 1.2.2, pyproject.toml has 1.2.3.",
        ),
        ("## [Unreleased]\n\n## [1.2.3]\n", "CHANGELOG.md has no dated version."),
    ],
)
def test_other_newest_version_in_changelog_is_reported(checkout: Path, changelog: str, problem: str) -> None:
    (checkout / "CHANGELOG.md").write_text(changelog)
    assert [*release.version_problems(checkout)] == [problem]


def test_changed_and_new_files_are_reported(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text("")
    (checkout / "new.py").write_text("")
    (problem,) = release.git_problems(checkout)
    assert " M CHANGELOG.md" in problem
    assert "?? new.py" in problem


def test_existing_tag_is_reported(checkout: Path) -> None:
    git(checkout, "tag", "v1.2.3")
    (problem,) = release.git_problems(checkout)
    assert problem.startswith("The tag v1.2.3 exists")


def test_lock_file_that_uv_changes_is_reported(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'case "$*" in *--upgrade*) exit 9;; *requirements-dev.lock) echo b==2 >> requirements-dev.lock;; esac'
    fake_uv(tmp_path, script, monkeypatch)
    assert [*release.lock_problems(checkout)] == ["requirements-dev.lock does not fit pyproject.toml; run `make lock`."]
    assert (checkout / "requirements-dev.lock").read_text() == "a==1\n"


def test_lock_files_that_uv_keeps_are_accepted(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_uv(tmp_path, "exit 0", monkeypatch)
    assert [*release.lock_problems(checkout)] == []


def test_unreachable_registry_is_named(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    (problem,) = release.lock_problems(checkout)
    assert problem.startswith("The package registry can't be reached, so the lock files were not checked.")


def test_problem_of_any_check_refuses_the_release(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(tmp_path, "exit 0", monkeypatch)
    git(checkout, "tag", "v1.2.3")
    with pytest.raises(ReleaseError, match=r"The tag v1\.2\.3 exists"):
        release.release(checkout)
    assert not (checkout / "dist").exists()


def test_wheel_without_license_marker_and_migrations_is_reported(checkout: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "kitsu-1.2.3-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        archive.writestr("kitsu/__init__.py", "")
        archive.writestr("tests/__init__.py", "")
        archive.writestr("kitsu-1.2.3.dist-info/METADATA", "Metadata-Version: 2.4\nName: kitsu\nVersion: 1.2.3\n")
        archive.writestr(
            "kitsu-1.2.3.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("kitsu-1.2.3.dist-info/RECORD", "")
    problems = "\n".join(release.package_problems(checkout, wheel))
    for part in (
        "License-Expression",
        "kitsu/py.typed",
        "kitsu/migrations/env.py",
        "licenses/LICENSE",
        "installs tests/",
    ):
        assert part in problems


def test_image_tags_and_supported_version_are_those_of_the_release() -> None:
    minor = ".".join(release.project_version(ROOT).split(".")[:2])
    assert f"image: kitsu:{minor}\n" in (ROOT / "deploy" / "compose.yml").read_text()
    assert f'newTag: "{minor}"\n' in (ROOT / "deploy" / "kubernetes" / "kustomization.yaml").read_text()
    assert f"| {minor} | yes |" in (ROOT / "SECURITY.md").read_text()


def test_wheel_and_sdist_of_this_checkout_have_no_problems(tmp_path: Path) -> None:
    packages = release.build(ROOT, tmp_path)
    assert [package.suffix for package in packages] == [".whl", ".gz"]
    for package in packages:
        assert [*release.package_problems(ROOT, package)] == []
