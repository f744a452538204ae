"""The systemd units: their options, and `systemd-analyze verify` if it is installed."""

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
    "kitsu-worker.service": "/opt/kitsu/bin/kitsu worker",
    "kitsu-migrate.service": "/opt/kitsu/bin/kitsu migrate",
    "kitsu-backup.service": "/opt/kitsu/bin/kitsu backup ",
}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_analyze_reports_no_problem(tmp_path: Path) -> None:
    kitsu = tmp_path / "kitsu"
    kitsu.write_text("#!/bin/sh\n")
    kitsu.chmod(0o755)
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/kitsu/bin/kitsu", str(kitsu)))
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # It also reports problems of other units of this machine.
    assert not [line for line in done.stderr.splitlines() if "kitsu" in line], done.stderr


def test_each_service_runs_one_command() -> None:
    assert set(SERVICES) == set(COMMANDS)
    for name, command in COMMANDS.items():
        (line,) = unit(name)["ExecStart"]
        assert command in line
        assert "ExecStartPre" not in unit(name)


@pytest.mark.parametrize("name", ["kitsu.service", "kitsu-worker.service"])
def test_service_is_restarted_without_limit(name: str) -> None:
    service = unit(name)
    # A required unit that fails, for example while the database is unavailable, would stop the service.
    assert not {"Requires", "Requisite", "BindsTo"} & {*service}
    assert service["Restart"] == ["always"]
    assert service["StartLimitIntervalSec"] == ["0"]


def test_only_the_parent_gets_sigterm() -> None:
    assert unit("kitsu.service")["KillMode"] == ["mixed"]


def test_no_unit_starts_the_migration() -> None:
    migration = unit("kitsu-migrate.service")
    assert "WantedBy" not in migration
    assert not [
        name for name in UNITS if any("kitsu-migrate" in value for values in unit(name).values() for value in values)
    ]
    # A migration may take longer than systemd's default of 90 s.
    assert seconds(migration["TimeoutStartSec"][0]) >= 3600


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_hardened_and_not_root(name: str) -> None:
    service = unit(name)
    assert service["User"] == service["Group"] == ["kitsu"]
    assert service["EnvironmentFile"] == ["/etc/kitsu/kitsu.env"]
    for option in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "ProtectKernelTunables", "RestrictSUIDSGID"):
        assert service[option] == ["true"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["CapabilityBoundingSet"] == [""]
    # In a user namespace, PostgreSQL could not identify the user on its socket.
    assert "PrivateUsers" not in service


def test_timer_starts_the_backup_daily_and_after_downtime() -> None:
    timer = unit("kitsu-backup.timer")
    assert re.fullmatch(r"\*-\*-\* \d\d:\d\d:00", timer["OnCalendar"][0])
    assert timer["Persistent"] == ["true"]
    assert "Unit" not in timer  # the default is the service of the same name
    assert timer["WantedBy"] == ["timers.target"]


def test_old_backups_are_deleted_only_after_a_new_one() -> None:
    assert "-delete" in unit("kitsu-backup.service")["ExecStartPost"][0]
    assert not unit("kitsu-backup.service")["ExecStart"][0].startswith("-")
