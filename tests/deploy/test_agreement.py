"""The files of deploy/ agree on settings, addresses, timeouts and users."""

import json
import re
from collections.abc import Mapping

import pytest

from kitsu.cli import main
from kitsu.controllers.viewer.imports import FORM_BYTES
from kitsu.domain.media.avatars import MAX_BYTES as MAX_AVATAR_BYTES
from kitsu.domain.viewer.list_import.files import MAX_BYTES as MAX_LIST_BYTES
from kitsu.errors import NotFound, PayloadTooLarge, ServiceUnavailable
from kitsu.jobs.executor import CANCEL_SECONDS
from kitsu.jobs.worker import STOP_SECONDS
from kitsu.settings import Settings, load_settings
from kitsu.settings.parsers import EXAMPLE_SECRET_KEY
from tests.deploy.deploy_files import DEPLOY, SETTINGS, compose, defaults, manifests, pods, seconds, stages, unit

SECRETS = ("SECRET_KEY", "DB_PASSWORD", "POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
KEY = {"SECRET_KEY": "k" * 32}


def _systemd() -> dict[str, str]:
    return {name: values[0] for name, values in unit("kitsu.env").items()}


def _compose() -> dict[str, str]:
    return {name: defaults(text) for name, text in compose()["x-kitsu"]["environment"].items()}


def _kubernetes() -> dict[str, str]:
    return {**manifests()["ConfigMap"]["data"], **manifests()["Secret"]["stringData"]}


PLATFORMS = {"systemd": _systemd(), "compose": _compose(), "kubernetes": _kubernetes()}


def _load(values: Mapping[str, str]) -> Settings:
    return load_settings({**values, **KEY}, DEPLOY / "no.env")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_settings_exist_and_have_valid_values(platform: str) -> None:
    assert set(PLATFORMS[platform]) <= SETTINGS
    assert _load(PLATFORMS[platform]).database_url is not None


def test_image_sets_only_settings_and_path() -> None:
    assert set(stages()[-1].environment) <= SETTINGS | {"PATH"}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_stop_timeouts_exceed_that_of_kitsu(platform: str) -> None:
    stop = _load(PLATFORMS[platform]).stop_timeout_seconds
    assert PLATFORMS[platform]["STOP_TIMEOUT_SECONDS"] == str(stop)
    caddy = re.search(r"grace_period (\w+)", _caddyfile())
    assert caddy is not None
    assert seconds(caddy[1]) > stop
    pod = pods()["Deployment"]
    pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    services = compose()["services"]
    timeouts = {
        "systemd": [unit("kitsu.service")["TimeoutStopSec"][0]],
        "compose": [services["kitsu"]["stop_grace_period"]],
        "kubernetes": [str(pod["terminationGracePeriodSeconds"] - pause)],
    }
    assert all(seconds(text) > stop for text in timeouts[platform])
    worker = {
        "systemd": unit("kitsu-worker.service")["TimeoutStopSec"][0],
        "compose": services["worker"]["stop_grace_period"],
        "kubernetes": str(pods()["Worker"]["terminationGracePeriodSeconds"]),
    }
    assert seconds(worker[platform]) > STOP_SECONDS + CANCEL_SECONDS
    for text in (services["caddy"]["stop_grace_period"], unit("caddy.service.d/kitsu.conf")["TimeoutStopSec"][0]):
        assert seconds(text) > seconds(caddy[1])


def test_port_is_the_same_everywhere() -> None:
    image = stages()[-1].environment["PORT"]
    assert {_load(values).port for values in PLATFORMS.values()} == {int(image)}
    assert f"{{$KITSU_UPSTREAM:127.0.0.1:{image}}}" in _caddyfile()
    assert compose()["services"]["caddy"]["environment"]["KITSU_UPSTREAM"] == f"kitsu:{image}"
    container = pods()["Deployment"]["containers"][0]
    assert container["ports"] == [{"name": "http", "containerPort": int(image)}]
    assert manifests()["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    template = manifests()["Deployment"]["spec"]["template"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == image


def test_media_folder_is_the_same_everywhere() -> None:
    volume = stages()[-1].all("VOLUME")[0]
    assert f"media:{volume}" in compose()["x-kitsu"]["volumes"]
    assert _load(PLATFORMS["compose"]).media_url == _load(PLATFORMS["systemd"]).media_url == f"file://{volume}"
    assert unit("kitsu.service")["StateDirectory"] == [volume.removeprefix("/var/lib/")]


def test_backup_folder_is_the_same_everywhere() -> None:
    folder = "/var/backups/kitsu"
    assert f"backups:{folder}" in compose()["x-kitsu"]["volumes"]
    assert compose()["x-kitsu"]["environment"]["BACKUP_FOLDER"] == folder
    assert folder in " ".join(stages()[-1].all("RUN"))
    assert unit("kitsu-backup.service")["ReadWritePaths"] == [folder]
    assert f"{folder}/kitsu-" in unit("kitsu-backup.service")["ExecStart"][0]


def test_user_of_image_and_pods_is_the_same() -> None:
    uid, gid = map(int, stages()[-1].all("USER")[0].split(":"))
    for pod in pods().values():
        assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (uid, gid)


def test_commands_exist() -> None:
    commands = [pod["containers"][0]["command"] for pod in pods().values()]
    commands += [compose()["services"]["migrate"]["command"], json.loads(stages()[-1].all("CMD")[0])]
    texts = [file.read_text() for file in (DEPLOY / "systemd").glob("*.service")] + [_readme()]
    named = {command[1] for command in commands}
    named |= {name for text in texts for name in re.findall(r"(?:/opt/kitsu/bin/|-- |kitsu )kitsu ([a-z-]+)", text)}
    assert {"serve", "worker", "migrate", "purge", "backup", "restore", "check"} <= named <= {*main.commands}


def test_files_named_in_readme_exist() -> None:
    named = set(re.findall(r"(?<![\w/])(?:deploy|systemd|kubernetes|prometheus|grafana)/[\w./*-]*[\w*]", _readme()))
    assert len(named) > 10
    for name in named - {"deploy/.env", "deploy/kitsu"}:  # written by the operator; the name of a Deployment
        found = list(DEPLOY.glob(name.removeprefix("deploy/")))
        assert found or (DEPLOY / name.removeprefix("deploy/")).exists(), name


def test_files_contain_no_secret() -> None:
    for values in (_kubernetes(), _systemd()):
        for name in SECRETS:
            assert values.get(name, "change-me").startswith("change-me")
        assert values["SECRET_KEY"] == EXAMPLE_SECRET_KEY  # Kitsu refuses to start with it
    for name in ("SECRET_KEY", "DB_PASSWORD"):
        assert re.fullmatch(r"\$\{" + name + r":\?Set \w[^{}]+\}", compose()["x-kitsu"]["environment"][name])
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            assert not re.search(r"\b[0-9a-f]{32,}\b|BEGIN [A-Z ]*PRIVATE KEY", file.read_text()), file


def test_only_the_proxy_is_trusted() -> None:
    services = compose()["services"]
    assert _load(PLATFORMS["systemd"]).trusted_proxies == ("127.0.0.1",)
    assert _load(PLATFORMS["compose"]).trusted_proxies == (services["caddy"]["networks"]["front"]["ipv4_address"],)


def test_body_limits_of_proxy_exceed_those_of_kitsu() -> None:
    sizes = dict(re.findall(r"request_body @(\w+) \{\s+max_size (\w+)", _caddyfile()))
    assert sizes == {"list": "33MiB", "other": "6MB"}
    assert MAX_LIST_BYTES + FORM_BYTES < 33 << 20
    assert MAX_AVATAR_BYTES + FORM_BYTES < 6_000_000
    body = re.search(r"read_body (\w+)", _caddyfile())
    assert body is not None
    assert seconds(body[1]) > Settings(secret_key="", database_url=None).body_timeout_seconds


@pytest.mark.parametrize("error", [NotFound, PayloadTooLarge, ServiceUnavailable])
def test_errors_of_proxy_have_the_format_of_kitsu(error: type[NotFound]) -> None:
    assert f'`{{"code":"{error.code}","message":"{error.message}","details":null}}`' in _caddyfile()
    assert f"Retry-After {ServiceUnavailable.headers['Retry-After']}\n" in _caddyfile()


def _readme() -> str:
    return (DEPLOY / "README.md").read_text()


def _caddyfile() -> str:
    return (DEPLOY / "Caddyfile").read_text()
