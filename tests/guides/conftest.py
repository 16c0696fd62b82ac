from collections.abc import Iterator
from pathlib import Path

import pytest
from guide import users_folder


@pytest.fixture(scope="module")
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A new user's folder, with what the module's guide (`TEXT`) shows."""
    with users_folder(tmp_path_factory.mktemp("guide"), request.module.TEXT) as path:
        yield path
