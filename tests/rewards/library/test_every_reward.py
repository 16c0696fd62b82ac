"""What must hold of every function of the library that needs no model."""

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_rl_envs.rewards.function import registered
from strategy_rl_envs.rewards.library import LIBRARY

PLAIN = sorted(name for name, function in LIBRARY.items() if not function.batched)
ODD = (
    "",
    " ",
    ".",
    "the",
    "\x00\x1b\n",
    "😀👩‍👩‍👧",
    "مرحبا",
    "\ud800",
    "word " * 60,
    "字" * 99,
    "a,b" * 50,
)
TEXT = st.one_of(st.sampled_from(ODD), st.text(max_size=60))
NUMBER = st.one_of(st.none(), st.floats(), st.integers(-3, 10**6))
FACTS: dict[str, st.SearchStrategy[Any]] = {
    "output": TEXT,
    "reference": st.none() | TEXT,
    "references": st.none() | st.lists(TEXT, max_size=3),
    "source": st.none() | TEXT,
    "keywords": st.none() | st.lists(TEXT, max_size=3),
    "window": st.none() | st.sampled_from([(1, 1), [3, 20]]),
    "action": st.integers(-2, 12),
    "relevance": st.none() | st.lists(NUMBER, max_size=8),
    "ranking": st.none() | st.lists(st.integers(-2, 12), max_size=12),
    "num_tokens": st.none() | st.integers(-1, 10**6),
    "seconds": st.none() | st.floats(),
}


def test_the_library_offers_more_than_twenty_functions() -> None:
    assert len(LIBRARY) >= 25
    assert all(registered()[name] is function for name, function in LIBRARY.items())


@pytest.mark.parametrize("name", PLAIN)
@given(data=st.data())
def test_anything_gives_a_finite_number_in_range_or_none_and_the_same_again(
    name: str, data: st.DataObject
) -> None:
    function = LIBRARY[name]
    wants = [fact for fact in function.wants if data.draw(st.booleans())]
    facts = {fact: data.draw(FACTS[fact], label=fact) for fact in (*function.needs, *wants)}
    value = function(**facts)
    assert value == function(**facts)
    if value is not None:
        assert isinstance(value, float)
        assert math.isfinite(value)
        low, high = function.bounds or (-math.inf, math.inf)
        assert low <= value <= high


@pytest.mark.parametrize("name", PLAIN)
def test_texts_ten_times_as_long_take_no_minutes(name: str) -> None:
    function = LIBRARY[name]
    facts = {
        "output": "some words, again and again. " * 400,
        "reference": "other words " * 400,
        "source": "some other words " * 1000,
        "action": 0,
        "relevance": [0.5] * 1000,
        "ranking": list(range(1000)),
        "seconds": 1.0,
    }
    value = function(**{fact: facts[fact] for fact in function.needs})
    assert value is None or math.isfinite(value)


@pytest.mark.parametrize("name", PLAIN)
def test_an_output_without_a_word_never_earns_more_than_a_sentence(name: str) -> None:
    function = LIBRARY[name]
    if "output" not in function.needs:
        assert not function.needs or "relevance" in function.needs or name == "latency_cost"
        return
    facts = {"reference": "A short answer.", "source": "A short answer, and more of it."}
    given = {fact: facts[fact] for fact in function.needs if fact != "output"}
    empty, spoken = (function(output, **given) for output in ("", "A short answer."))
    if name != "token_cost" and empty is not None:  # silence is cheap
        assert empty <= spoken


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_every_docstring_says_range_cost_and_source(name: str) -> None:
    text = LIBRARY[name].__doc__
    assert "Range: " in text
    assert re.search(r"Cost: (about [\d,]+|under 1) us|Cost: \w+ texts? through", text)
    assert re.search(r"Source: |\(\w+ \d{4}\)", text)
