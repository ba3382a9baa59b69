"""Logging in: where keys are kept, and which one goes where."""

import pytest

from tests.cli.conftest import Map, Platform


def test_a_login_is_checked_and_kept_for_its_owner_alone(platform: Platform, nobody: Map) -> None:
    key, url = platform.new_key(), platform.stack.url
    told = nobody("login", "--url", f"{url}/", "--key", key)
    assert nobody.config() == {"default": {"url": url, "key": key}}
    nobody("tools", "list")
    assert key not in told.output


def test_a_key_is_read_from_stdin(platform: Platform, nobody: Map) -> None:
    key = platform.new_key()
    nobody("login", "--url", platform.stack.url, stdin=f"{key}\n")
    assert nobody.config()["default"]["key"] == key


def test_a_key_that_may_do_little_can_log_in(platform: Platform, nobody: Map) -> None:
    key = platform.new_key(scopes=("history:read",))
    nobody("login", "--url", platform.stack.url, "--key", key)
    refused = nobody("tools", "list", code=1)
    assert "(INSUFFICIENT_SCOPE)\nrequired_scope: tools:read" in refused.stderr


def test_a_wrong_key_is_not_kept(platform: Platform, nobody: Map) -> None:
    refused = nobody("login", "--url", platform.stack.url, "--key", "wrong-key", code=3)
    assert "(INVALID_API_KEY)" in refused.stderr
    assert "wrong-key" not in refused.output
    assert not nobody.home.exists()


@pytest.mark.parametrize("key", ["\N{SNOWMAN}", "two\nlines"])
def test_what_cannot_be_a_key_is_not_sent(nobody: Map, key: str) -> None:
    nobody("login", "--url", "http://127.0.0.1:9", "--key", key, code=3)


@pytest.mark.parametrize("url", ["example.com", "ftp://example.com", "http://a:b"])
def test_what_is_no_address_is_told_so(nobody: Map, url: str) -> None:
    assert url in nobody("login", "--url", url, "--key", "k", code=1).stderr


def test_profiles_are_apart_and_logging_out_forgets_one(platform: Platform, nobody: Map) -> None:
    url = platform.stack.url
    nobody("login", "--url", url, "--key", platform.new_key())
    nobody("login", "--url", url, "--key", platform.new_key(), "--profile", "other")
    nobody("tools", "create", "web", "--description", "d", "--profile", "other")
    assert nobody.json("tools", "list")["items"] == []
    assert len(nobody.json("tools", "list", "--profile", "other")["items"]) == 1
    nobody("logout", "--profile", "other")
    assert list(nobody.config()) == ["default"]
    assert (
        "map login --profile other" in nobody("tools", "list", "--profile", "other", code=3).stderr
    )
    nobody("logout", "--profile", "other", code=1)


def test_the_environment_goes_first(platform: Platform, nobody: Map) -> None:
    nobody("login", "--url", platform.stack.url, "--key", platform.new_key())
    nobody.env = {"MAP_API_KEY": "wrong-key"}
    assert "`map login`" in nobody("tools", "list", code=3).stderr
    nobody.env = {"MAP_URL": "http://127.0.0.1:9", "MAP_API_KEY": "wrong-key"}
    nobody("tools", "list", code=4)


def test_a_kept_key_goes_to_no_other_address(platform: Platform, nobody: Map) -> None:
    nobody("login", "--url", platform.stack.url, "--key", platform.new_key())
    nobody.env = {"MAP_URL": "http://127.0.0.1:9"}
    assert "MAP_API_KEY" in nobody("tools", "list", code=3).stderr
    nobody.env = {"MAP_URL": f"{platform.stack.url}/"}
    nobody("tools", "list")


def test_nobody_is_told_to_log_in(nobody: Map) -> None:
    assert nobody("tools", "list", code=3).stderr == "Not logged in: `map login`\n"


def test_a_broken_file_is_told_by_its_name(nobody: Map) -> None:
    file = nobody.home / "map" / "profiles.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert str(file) in nobody("tools", "list", code=1).stderr


def test_a_key_over_plain_http_is_warned_of(nobody: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("map_cli.client.Client.call", lambda *_, **__: None)
    told = nobody("login", "--url", "http://platform.example.com", "--key", "k")
    assert "not https" in told.stderr
    assert not nobody("login", "--url", "http://localhost:1", "--key", "k").stderr
    assert (
        "not https" in nobody("login", "--url", "http://localhost.example.com", "--key", "k").stderr
    )
