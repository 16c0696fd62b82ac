"""The tab as files to share: its front end, and every episode as JSON, for any plain file server.

What the server computes on request is answered by `offline/offline.js` from these files:

    data/runs.json             as /runs
    data/N/heads.json          every head of run N, in order
    data/N/fixed.json          /curve, /probes and /warnings
    data/N/decisions.json      of each episode its actions and the expert's, as places in `names`
    data/N/texts.json          what a search looks through
    data/N/episodes-M.json     50 episodes in full
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strategy_rl.board.catalog import Catalog, RunIndex
from strategy_rl.board.episode import steps_in
from strategy_rl.board.figures import curve
from strategy_rl.board.frontend import json_bytes, static_files
from strategy_rl.board.index import Entry, read_many
from strategy_rl.board.maps import expert_of
from strategy_rl.board.probes import probes_of
from strategy_rl.board.routes import episode_of, list_runs
from strategy_rl.board.search import texts_in
from strategy_rl.board.warnings import warnings_of
from strategy_rl.errors import RunError

CHUNK = 50  # episodes in a file

_OFFLINE = Path(__file__).parent / "offline"


def export_board(folder: Path, out: Path) -> int:
    """Write the tab over the runs below `folder` as files; gives how many episodes are in it.

    Args:
        folder: A run, or a folder of runs.
        out: A folder that does not exist, or is empty; not inside `folder`.

    Raises:
        RunError: There are no episodes, or `out` lies among the runs.
        StorageError: The disk refused, or `out` holds something.
    """
    from strategy_rl.files import new_folder  # heavy: it knows experiment files

    if out.resolve().is_relative_to(folder.resolve()):
        raise RunError(
            f"{out}: lies inside {folder}, where runs are looked for; choose a folder outside of it"
        )
    catalog = Catalog({folder: None})
    catalog.refresh()
    if not catalog.has_episodes():
        raise RunError(f"{folder}: no episodes/*.jsonl in it; expected a run or a folder of runs")
    with new_folder(out) as target:
        _copy_front_end(target)
        data = target / "data"
        data.mkdir()
        answer = list_runs(catalog, {})
        _write(data / "runs.json", {**answer, "chunk": CHUNK})
        for number, facts in enumerate(answer["runs"]):
            _write_run(data / str(number), catalog.run(facts["run"]))
    return sum(facts["episodes"] for facts in answer["runs"])


def _copy_front_end(target: Path) -> None:
    files = {path.name: path for path in sorted(_OFFLINE.iterdir()) if path.is_file()}
    files |= {f"static/{name}": path for name, path in static_files().items()}
    for name, path in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)


def _write_run(folder: Path, run: RunIndex) -> None:
    folder.mkdir()
    entries = run.entries()
    _write(folder / "heads.json", [entry.head for entry in entries])
    fixed = {"curve": {"points": curve(entries)}, "probes": probes_of(entries)}
    _write(folder / "fixed.json", {**fixed, "warnings": {"warnings": warnings_of(entries)}})
    _write(folder / "decisions.json", _decisions(entries))
    texts = [list(texts_in(episode.get("steps"))) for episode in read_many(entries)]
    _write(folder / "texts.json", texts)
    for start in range(0, len(entries), CHUNK):
        chunk = [episode_of(run, e.head["key"]) for e in entries[start : start + CHUNK]]
        _write(folder / f"episodes-{start // CHUNK}.json", chunk)


def _decisions(entries: Sequence[Entry]) -> dict[str, Any]:
    """Of each step: the action's place in `names`, and the expert's, -1 where it is unknown."""
    places: dict[str, int] = {}

    def place(name: str | None) -> int:
        return -1 if name is None else places.setdefault(name, len(places))

    episodes = [
        [
            [place(str(step.get("action_name"))), place(expert_of(step))]
            for step in steps_in(episode)
        ]
        for episode in read_many(list(entries))
    ]
    return {"names": list(places), "episodes": episodes}


def _write(path: Path, value: Any) -> None:
    path.write_bytes(json_bytes(value))
