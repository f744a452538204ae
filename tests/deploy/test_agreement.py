"""What the files of deploy/ say of one thing is the same in each: settings, addresses, times, users."""

import json
import re
from collections.abc import Mapping

import pytest

from kitsu.cli import main
from kitsu.controllers.viewer.library import FORM_BYTES
from kitsu.domain.media.avatars import MAX_BYTES as AVATAR
from kitsu.domain.viewer.list_import.files import MAX_BYTES as LIST
from kitsu.errors import NotFound, PayloadTooLarge, ServiceUnavailable
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


PLACES = {"systemd": _systemd(), "compose": _compose(), "kubernetes": _kubernetes()}


def _loaded(values: Mapping[str, str]) -> Settings:
    return load_settings({**values, **KEY}, DEPLOY / "no.env")


@pytest.mark.parametrize("place", PLACES)
def test_every_setting_exists_and_has_a_value_that_kitsu_takes(place: str) -> None:
    assert set(PLACES[place]) <= SETTINGS
    assert _loaded(PLACES[place]).database_url is not None


def test_the_image_sets_nothing_but_settings_and_the_path() -> None:
    assert set(stages()[-1].environment) <= SETTINGS | {"PATH"}


@pytest.mark.parametrize("place", PLACES)
def test_requests_under_way_have_time_to_end_everywhere(place: str) -> None:
    stop = _loaded(PLACES[place]).stop_timeout_seconds
    assert PLACES[place]["STOP_TIMEOUT_SECONDS"] == str(stop)
    caddy = re.search(r"grace_period (\w+)", _caddyfile())
    assert caddy is not None
    assert seconds(caddy[1]) > stop
    pod = pods()["Deployment"]
    pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    services = compose()["services"]
    given = {
        "systemd": [unit("kitsu.service")["TimeoutStopSec"][0]],
        "compose": [services["kitsu"]["stop_grace_period"]],
        "kubernetes": [str(pod["terminationGracePeriodSeconds"] - pause)],
    }
    assert all(seconds(text) > stop for text in given[place])
    for text in (services["caddy"]["stop_grace_period"], unit("caddy.service.d/kitsu.conf")["TimeoutStopSec"][0]):
        assert seconds(text) > seconds(caddy[1])


def test_all_listen_and_ask_on_one_port() -> None:
    image = stages()[-1].environment["PORT"]
    assert {_loaded(values).port for values in PLACES.values()} == {int(image)}
    assert f"{{$KITSU_UPSTREAM:127.0.0.1:{image}}}" in _caddyfile()
    assert compose()["services"]["caddy"]["environment"]["KITSU_UPSTREAM"] == f"kitsu:{image}"
    container = pods()["Deployment"]["containers"][0]
    assert container["ports"] == [{"name": "http", "containerPort": int(image)}]
    assert manifests()["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    template = manifests()["Deployment"]["spec"]["template"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == image


def test_media_lie_in_one_folder() -> None:
    volume = stages()[-1].all("VOLUME")[0]
    assert f"media:{volume}" in compose()["x-kitsu"]["volumes"]
    assert _loaded(PLACES["compose"]).media_url == _loaded(PLACES["systemd"]).media_url == f"file://{volume}"
    assert unit("kitsu.service")["StateDirectory"] == [volume.removeprefix("/var/lib/")]


def test_backups_lie_in_one_folder() -> None:
    folder = "/var/backups/kitsu"
    assert f"backups:{folder}" in compose()["x-kitsu"]["volumes"]
    assert folder in " ".join(stages()[-1].all("RUN"))
    assert unit("kitsu-backup.service")["ReadWritePaths"] == [folder]
    assert f"{folder}/kitsu-" in unit("kitsu-backup.service")["ExecStart"][0]


def test_the_user_of_the_image_is_that_of_the_pods() -> None:
    uid, gid = map(int, stages()[-1].all("USER")[0].split(":"))
    for pod in pods().values():
        assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (uid, gid)


def test_every_command_exists() -> None:
    commands = [pod["containers"][0]["command"] for pod in pods().values()]
    commands += [compose()["services"]["migrate"]["command"], json.loads(stages()[-1].all("CMD")[0])]
    texts = [file.read_text() for file in (DEPLOY / "systemd").glob("*.service")] + [_readme()]
    named = {command[1] for command in commands}
    named |= {name for text in texts for name in re.findall(r"(?:/opt/kitsu/bin/|-- |kitsu )kitsu ([a-z-]+)", text)}
    assert {"serve", "migrate", "purge", "backup", "restore", "check"} <= named <= {*main.commands}


def test_every_file_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"(?<![\w/])(?:deploy|systemd|kubernetes|prometheus|grafana)/[\w./*-]*[\w*]", _readme()))
    assert len(named) > 10
    for name in named - {"deploy/.env", "deploy/kitsu"}:  # the operator's own; a Deployment of Kubernetes
        found = list(DEPLOY.glob(name.removeprefix("deploy/")))
        assert found or (DEPLOY / name.removeprefix("deploy/")).exists(), name


def test_no_file_holds_a_secret() -> None:
    for values in (_kubernetes(), _systemd()):
        for name in SECRETS:
            assert values.get(name, "change-me").startswith("change-me")
        assert values["SECRET_KEY"] == EXAMPLE_SECRET_KEY  # which Kitsu refuses to start with
    for name in ("SECRET_KEY", "DB_PASSWORD"):
        assert re.fullmatch(r"\$\{" + name + r":\?Set \w[^{}]+\}", compose()["x-kitsu"]["environment"][name])
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            assert not re.search(r"\b[0-9a-f]{32,}\b|BEGIN [A-Z ]*PRIVATE KEY", file.read_text()), file


def test_only_the_proxy_is_believed() -> None:
    services = compose()["services"]
    assert _loaded(PLACES["systemd"]).trusted_proxies == ("127.0.0.1",)
    assert _loaded(PLACES["compose"]).trusted_proxies == (services["caddy"]["networks"]["front"]["ipv4_address"],)


def test_the_proxy_lets_through_what_kitsu_takes() -> None:
    sizes = dict(re.findall(r"request_body @(\w+) \{\s+max_size (\w+)", _caddyfile()))
    assert sizes == {"list": "33MiB", "other": "6MB"}
    assert LIST + FORM_BYTES < 33 << 20
    assert AVATAR + FORM_BYTES < 6_000_000
    body = re.search(r"read_body (\w+)", _caddyfile())
    assert body is not None
    assert seconds(body[1]) > Settings(secret_key="", database_url=None).body_timeout_seconds


@pytest.mark.parametrize("error", [NotFound, PayloadTooLarge, ServiceUnavailable])
def test_the_proxys_own_errors_have_the_form_of_kitsus(error: type[NotFound]) -> None:
    assert f'`{{"code":"{error.code}","message":"{error.message}","details":null}}`' in _caddyfile()
    assert f"Retry-After {ServiceUnavailable.headers['Retry-After']}\n" in _caddyfile()


def _readme() -> str:
    return (DEPLOY / "README.md").read_text()


def _caddyfile() -> str:
    return (DEPLOY / "Caddyfile").read_text()
