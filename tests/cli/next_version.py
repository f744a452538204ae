"""A version of Kitsu with one more revision than this one."""

from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

from kitsu.db import migrations
from tests.cli.process import ROOT

REVISION = f"{int(migrations.head()) + 1:04}"
"""The revision of the next version."""

_FILE = '''"""More.

Revises: {head}
"""

from alembic import op

revision = {revision!r}
down_revision = {head!r}
compatible_with = {compatible_with!r}


def upgrade() -> None:
    for statement in {up!r}:
        op.execute(statement)


def downgrade() -> None:
    for statement in {down!r}:
        op.execute(statement)
'''


def next_version(folder: Path, up: list[str], down: list[str], *, is_compatible: bool = True) -> dict[str, Any]:
    """Write the version below a folder, and return the environment that runs it.

    Its revision consists of these statements. `is_compatible`: whether this version can serve with it.
    """
    # Python takes the package's address from this link, and with it the revisions beside it. The working directory of a
    # command comes first, so it must be another folder.
    folder = folder / "next"
    folder.mkdir()
    (folder / "kitsu").symlink_to(ROOT / "kitsu")
    copytree(ROOT / "migrations", folder / "migrations", ignore=ignore_patterns("__pycache__"))
    head = migrations.head()
    text = _FILE.format(
        head=head, revision=REVISION, compatible_with=head if is_compatible else REVISION, up=up, down=down
    )
    (folder / "migrations" / "versions" / f"{REVISION}_more.py").write_text(text)
    return {"PYTHONPATH": str(folder)}
