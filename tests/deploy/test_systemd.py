"""The systemd units: by systemd's own check where it is installed, and by what they have to say."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.deploy_files import DEPLOY, seconds, unit

UNITS = sorted(file.name for file in (DEPLOY / "systemd").iterdir() if file.suffix in {".service", ".timer"})
SERVICES = [name for name in UNITS if name.endswith(".service")]
COMMANDS = {
    "kitsu.service": "/opt/kitsu/bin/kitsu serve",
    "kitsu-migrate.service": "/opt/kitsu/bin/kitsu migrate",
    "kitsu-purge.service": "/opt/kitsu/bin/kitsu purge",
    "kitsu-backup.service": "/opt/kitsu/bin/kitsu backup ",
}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    kitsu = tmp_path / "kitsu"
    kitsu.write_text("#!/bin/sh\n")
    kitsu.chmod(0o755)
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/kitsu/bin/kitsu", str(kitsu)))
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Of other units on this machine it may say what it likes.
    assert not [line for line in done.stderr.splitlines() if "kitsu" in line], done.stderr


def test_each_service_does_one_thing() -> None:
    assert set(SERVICES) == set(COMMANDS)
    for name, command in COMMANDS.items():
        (line,) = unit(name)["ExecStart"]
        assert command in line
        assert "ExecStartPre" not in unit(name)


def test_the_service_comes_back_by_itself() -> None:
    service = unit("kitsu.service")
    # A unit that it requires, and that fails once, such as for a database that is away, would end it.
    assert not {"Requires", "Requisite", "BindsTo"} & {*service}
    assert service["Restart"] == ["always"]
    assert service["StartLimitIntervalSec"] == ["0"]
    # The parent hears of the end first and lets its workers finish.
    assert service["KillMode"] == ["mixed"]


def test_nothing_but_the_operator_migrates() -> None:
    migration = unit("kitsu-migrate.service")
    assert "WantedBy" not in migration
    assert not [
        name for name in UNITS if any("kitsu-migrate" in said for values in unit(name).values() for said in values)
    ]
    # It may take longer than the 90 s that systemd gives a start.
    assert seconds(migration["TimeoutStartSec"][0]) >= 3600


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_and_no_root(name: str) -> None:
    service = unit(name)
    assert service["User"] == service["Group"] == ["kitsu"]
    assert service["EnvironmentFile"] == ["/etc/kitsu/kitsu.env"]
    for option in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "ProtectKernelTunables", "RestrictSUIDSGID"):
        assert service[option] == ["true"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["CapabilityBoundingSet"] == [""]
    # With users of its own PostgreSQL could not tell who asks on its socket.
    assert "PrivateUsers" not in service


@pytest.mark.parametrize("name", ["kitsu-purge", "kitsu-backup"])
def test_a_timer_starts_its_service_daily_and_catches_up(name: str) -> None:
    timer = unit(f"{name}.timer")
    assert re.fullmatch(r"\*-\*-\* \d\d:\d\d:00", timer["OnCalendar"][0])
    assert timer["Persistent"] == ["true"]
    assert "Unit" not in timer  # the service of its own name
    assert timer["WantedBy"] == ["timers.target"]


def test_an_old_backup_goes_only_after_a_new_one_came() -> None:
    assert "-delete" in unit("kitsu-backup.service")["ExecStartPost"][0]
    assert not unit("kitsu-backup.service")["ExecStart"][0].startswith("-")
