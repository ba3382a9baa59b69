"""The format of API keys."""

import math
import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mini_agent.identity import api_keys

BASE62 = string.ascii_letters + string.digits
made = st.builds(api_keys.generate)


@given(made)
def test_a_new_key_looks_as_documented_and_is_well_formed(key: str) -> None:
    assert re.fullmatch(r"map_live_[0-9A-Za-z]{38}", key)
    assert api_keys.is_well_formed(key)


def test_a_key_has_at_least_160_random_bits_from_the_whole_alphabet() -> None:
    drawn = [api_keys.generate().removeprefix(api_keys.PREFIX)[:-6] for _ in range(3000)]
    assert len({*drawn}) == 3000
    for position in range(32):
        assert {key[position] for key in drawn} == {*BASE62}
    assert 32 * math.log2(len(BASE62)) >= 160


@given(made, st.data())
def test_a_change_of_any_one_character_is_noticed(key: str, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(key) - 1))
    character = data.draw(st.sampled_from(BASE62 + "_-é\0 ") | st.characters())
    assume(character != key[position])
    assert not api_keys.is_well_formed(key[:position] + character + key[position + 1 :])


@given(made, st.integers(0, 45))
def test_two_neighbours_that_change_places_are_noticed(key: str, at: int) -> None:
    assume(key[at] != key[at + 1])
    assert not api_keys.is_well_formed(key[:at] + key[at + 1] + key[at] + key[at + 2 :])


@given(made, st.integers(0, 46), st.sampled_from(BASE62))
def test_a_character_more_or_less_is_noticed(key: str, at: int, character: str) -> None:
    assert not api_keys.is_well_formed(key[:at] + key[at + 1 :])
    assert not api_keys.is_well_formed(key[:at] + character + key[at:])


@given(st.text(st.characters(), max_size=100))  # lone surrogates included
def test_any_text_is_told_from_a_key(text: str) -> None:
    assert not api_keys.is_well_formed(text)
    assert not api_keys.is_well_formed(api_keys.PREFIX + text)


@pytest.mark.parametrize("key", api_keys.DEMO_KEYS)
def test_a_demo_key_is_not_well_formed(key: str) -> None:
    assert not api_keys.is_well_formed(key)


def test_the_digest_depends_on_key_and_pepper_and_shows_neither() -> None:
    key = api_keys.generate()
    assert api_keys.digest(key, "pepper") == api_keys.digest(key, "pepper")
    digests = {
        api_keys.digest(key, "a"),
        api_keys.digest(key, "b"),
        api_keys.digest(api_keys.generate(), "a"),
    }
    assert len(digests) == 3
    assert {len(digest) for digest in digests} == {32}


def test_the_digest_is_hmac_sha_256() -> None:
    # RFC 4231, test case 2
    assert api_keys.digest("what do ya want for nothing?", "Jefe").hex() == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
