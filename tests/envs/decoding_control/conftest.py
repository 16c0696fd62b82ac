"""One tiny model and its rows for all tests of this folder."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_models import save_model, save_rows

from strategy_rl_envs.decoding_control.env import DecodingControl
from strategy_rl_envs.decoding_control.language import load_language
from strategy_rl_envs.decoding_control.vector import DecodingControlVector

KNOBS = {"temperature": [0.0, 1.0], "repetition_penalty": [1.0, 1.3], "stop": True}


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    return save_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> str:
    return save_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="session")
def settings(model, data) -> dict[str, Any]:
    return {"model": model, "data": data, "knobs": KNOBS, "hold": 3, "max_new_tokens": 11}


@pytest.fixture
def language(model):
    return load_language(model)


@pytest.fixture
def single(settings):
    return lambda **changes: DecodingControl(**{**settings, **changes})


@pytest.fixture
def vector(settings):
    return lambda num_envs, **changes: DecodingControlVector(num_envs, **{**settings, **changes})
