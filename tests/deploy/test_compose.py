"""compose.yml: one command brings up all of it, in order."""

import re
from ipaddress import ip_address, ip_network

import yaml

from tests.deploy.deploy_files import DEPLOY, SETTINGS, compose

SERVICES = compose()["services"]


def test_the_schema_is_there_before_kitsu_serves_and_kitsu_before_caddy() -> None:
    assert SERVICES["migrate"]["command"] == ["kitsu", "migrate"]
    assert SERVICES["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no"
    assert SERVICES["kitsu"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert SERVICES["caddy"]["depends_on"] == {"kitsu": {"condition": "service_healthy"}}


def test_only_caddy_is_reached_from_outside() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"caddy"}
    assert SERVICES["database"]["networks"] == SERVICES["migrate"]["networks"] == ["back"]
    assert set(SERVICES["caddy"]["networks"]) == {"front"}


def test_caddy_has_the_address_that_kitsu_believes_and_nobody_is_given_it_before() -> None:
    address = ip_address(SERVICES["caddy"]["networks"]["front"]["ipv4_address"])
    assert str(address) == SERVICES["kitsu"]["environment"]["TRUSTED_PROXIES"]
    [front] = compose()["networks"]["front"]["ipam"]["config"]
    handed_out = ip_network(front["ip_range"])
    assert handed_out.subnet_of(ip_network(front["subnet"]))  # type: ignore[arg-type]
    for own in (address, ip_address(front["gateway"])):
        assert own in ip_network(front["subnet"])
        assert own not in handed_out


def test_no_default_requires_a_variable() -> None:
    text = (DEPLOY / "compose.yml").read_text()
    # Compose looks at a default even where it is not needed.
    assert not re.search(r"\$\{\w+:?-[^}]*\$\{\w+:?\?", text)


def test_images_are_pinned_to_a_major_version() -> None:
    assert SERVICES["database"]["image"] == "postgres:18-bookworm"
    assert SERVICES["caddy"]["image"] == "caddy:2"
    assert SERVICES["kitsu"]["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile"}


def test_every_volume_and_network_is_declared_and_every_file_there() -> None:
    declared = {*compose()["volumes"]}
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in declared
        assert {*service["networks"]} <= {*compose()["networks"]}
    # Version 18 of the image ends when its data are mounted where older versions had them.
    assert "database:/var/lib/postgresql" in SERVICES["database"]["volumes"]


def test_containers_lack_the_rights_that_they_do_not_need() -> None:
    for name in ("kitsu", "migrate"):
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert "user" not in SERVICES[name]
    assert SERVICES["caddy"]["cap_add"] == ["NET_BIND_SERVICE"]


def test_every_variable_is_a_setting_or_the_site() -> None:
    text = yaml.safe_dump(compose())
    assert set(re.findall(r"\$\{(\w+)", text)) <= SETTINGS | {"KITSU_SITE"}
    asked = set(re.findall(r"\{\$(\w+)", (DEPLOY / "Caddyfile").read_text()))
    assert asked == {*SERVICES["caddy"]["environment"]}
