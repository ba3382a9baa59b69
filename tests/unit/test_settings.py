"""Settings and the environment."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from mini_agent.identity import api_keys
from mini_agent.settings import Settings

ROOT = Path(__file__).parents[2]
SHIPPED = [*(ROOT / "functions").rglob("*.py"), *(ROOT / "layers/shared").rglob("*.py")]


def test_settings_alone_read_the_environment() -> None:
    assert len(SHIPPED) > 20
    readers = [
        file.name for file in SHIPPED if re.search(r"environ|getenv|BaseSettings", file.read_text())
    ]
    assert readers == ["settings.py"]


def test_every_setting_has_a_variable_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAP_PROFILE", "local")
    monkeypatch.setenv("MAP_DATABASE_HOST", "db.example")
    monkeypatch.setenv("MAP_DATABASE_PORT", "6543")
    monkeypatch.setenv("MAP_KEY_PEPPERS", '{"2": "two", "10": "ten"}')
    settings = Settings()
    assert (settings.profile, settings.database_host) == ("local", "db.example")
    assert settings.database_port == 6543
    version, pepper = max(settings.key_peppers.items())
    assert (version, pepper.get_secret_value()) == (10, "ten")


def test_a_pepper_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAP_KEY_PEPPERS", '{"1": "salt"}')
    assert "salt" not in repr(Settings()) + str(Settings()) + Settings().model_dump_json()


@pytest.mark.parametrize("profile", ["Local", "LOCAL", "", "dev", "local "])
def test_there_are_two_profiles_and_nothing_else_passes_for_the_local_one(
    monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    monkeypatch.setenv("MAP_PROFILE", profile)
    with pytest.raises(ValidationError):
        Settings()


def test_without_a_profile_nothing_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAP_PROFILE")
    assert Settings().profile == "aws"


def test_demo_keys_are_named_in_no_template() -> None:
    for template in (ROOT / "template.yaml", *(ROOT / "stacks").glob("*.yaml")):
        assert not any(key in template.read_text() for key in api_keys.DEMO_KEYS)
