from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invented_runs import write_runs
from policy_tab import Page, chromium, tensorboard_of
from tensorboard.backend.application import TensorBoardWSGI
from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client

from strategy_rl.board.app import PolicyPlugin

Ask = Callable[..., Any]


class Tab:
    """The tab on a folder, asked over HTTP; `refresh` looks at the folder, as the thread does."""

    def __init__(self, logdir: Path | str, spec: str = "") -> None:
        flags = SimpleNamespace(logdir_spec=spec)
        self.plugin = PolicyPlugin(TBContext(logdir=str(logdir), flags=flags))
        self.client = Client(TensorBoardWSGI([self.plugin]))
        self.refresh()

    def refresh(self) -> None:
        self.plugin.catalog.refresh()

    def response(self, route: str, **params: Any) -> Any:
        return self.client.get(f"/data/plugin/strategy_rl/{route}", query_string=params)

    def ask(self, route: str, **params: Any) -> Any:
        response = self.response(route, **params)
        assert response.status_code == 200, response.get_data(as_text=True)
        return response.get_json()

    def ids(self, **params: Any) -> list[str]:
        return [head["episode_id"] for head in self.ask("episodes", **params)["episodes"]]


@pytest.fixture
def open_tab() -> type[Tab]:
    return Tab


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of invented runs."""
    root = tmp_path_factory.mktemp("runs")
    write_runs(root)
    return root


@pytest.fixture(scope="module")
def opened(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The tab on them, in a browser."""
    with chromium(tmp_path_factory.mktemp("profile")) as driver, tensorboard_of(runs) as address:
        yield Page(driver, address)


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """As `opened`; the test fails where the browser's console got an error."""
    opened.complaints()
    yield opened
    assert opened.complaints() == []
