"""`kitsu check`: report what is misconfigured, and how to fix it."""

import asyncio
import sys

import click

from kitsu.cli.checks import database
from kitsu.cli.checks.registry import CHECKS, Check, Finding, Level, run
from kitsu.cli.database import with_database
from kitsu.db.embedded import EmbeddedError
from kitsu.domain.media.store import MediaStore
from kitsu.settings import Settings, load_settings


@click.command()
@click.option("--deploy", is_flag=True, help="Also run the checks of a production install.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Run only checks with this tag; repeatable.")
@click.option("--list-tags", is_flag=True, help="List the tags and exit.")
@click.option(
    "--fail-level",
    type=click.Choice(Level, case_sensitive=False),
    default="warning",
    show_default=True,
    help="Lowest level of a finding for exit code 1.",
)
def check(*, deploy: bool, tags: tuple[str, ...], list_tags: bool, fail_level: Level) -> None:
    """Check the settings, the database and, with --deploy, all that a production install needs.

    The exit code is 1 when a setting is wrong or a check reports a problem. SILENCED_CHECKS hides checks by id.
    """
    checks = [each for each in CHECKS.values() if deploy or not each.deploy]
    known = sorted({tag for each in checks for tag in each.tags})
    if list_tags:
        click.echo("\n".join(known))
        return
    if unknown := sorted({*tags} - {*known}):
        only_deploy = "" if deploy else " without --deploy"
        raise click.ClickException(f"No check has the tag {unknown[0]}{only_deploy}. Tags: {', '.join(known)}.")
    settings = load_settings()
    found = _run([each for each in checks if not tags or each.tags & {*tags}], settings)
    shown = [finding for finding in found if finding.check.id not in settings.silenced_checks]
    for finding in sorted(shown, key=lambda finding: finding.check.id):  # kitsu.E… before kitsu.W…
        click.echo(f"{finding.check.level.name} {finding.check.id}: {finding.message}")
        if finding.check.hint:
            click.echo(f"    Hint: {finding.check.hint}")
    count = f"{len(shown) or 'no'} problem{'' if len(shown) == 1 else 's'}"
    click.echo(f"Kitsu check found {count} ({len(found) - len(shown)} silenced).")
    sys.exit(any(finding.check.level >= fail_level for finding in shown))


def _run(checks: list[Check], settings: Settings) -> list[Finding]:
    """Run the checks; those that look at the database are one error if it can't be used."""
    store = MediaStore(settings.media_url, settings.media_s3_endpoint)
    online = [each for each in checks if "engine" in each.resources]
    offline = [each for each in checks if each not in online]
    found = asyncio.run(run(offline, settings=settings, store=store))
    if online:
        try:
            found += with_database(lambda engine: run(online, settings=settings, store=store, engine=engine))
        except (click.ClickException, EmbeddedError) as error:
            found.append(Finding(database.connection, str(error)))
    return found
