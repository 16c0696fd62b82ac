"""Episodes on texts that were written once: where a policy says when to stop, and nothing else.

Stopping is then all that a policy changes, so that every episode of a row plays a beginning of the
same text. `Replay` gives the episodes that `episodes.Episodes` would, without the model.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from strategy_rl_envs.decoding_control.episodes import Episodes, Outcome
from strategy_rl_envs.decoding_control.language import fingerprint
from strategy_rl_envs.decoding_control.observing import CERTAINTY, NUM_DIRECTIONS, NUM_START
from strategy_rl_envs.decoding_control.recordings import (
    SCHEMA,
    Recording,
    Written,
    cache_folder,
    is_sealed,
    load_recording,
    missing_parts,
    seal,
    write_part,
)
from strategy_rl_envs.decoding_control.rivals import stopping_rivals
from strategy_rl_envs.decoding_control.stopping import Mask, Stops
from strategy_rl_envs.decoding_control.surface import SURFACE
from strategy_rl_envs.decoding_control.targets import TARGETS
from strategy_rl_envs.decoding_control.task import Task
from strategy_rl_envs.kit.errors import SettingError

_HALF = "\ufffd"  # how half a character at the end is shown

log = logging.getLogger(__name__)


@dataclass
class _Episode:
    """One slot: which row it plays, and how many decisions were made."""

    place: int
    decision: int = 0
    over: bool = False


class Replay:
    """Slots that play the recorded texts of one task; see `episodes.Episodes`.

    The recording is made when there is none. `expert_action` is what gives most from here on, known
    by hindsight, by `Task.expert_reward`: the weights are those of the end of training, which judge
    validation and test rows, and values with `scale: running` count as they are.

    Args:
        task: What is played; its menu holds one setting of temperature 0, and stop.
        make_train: Makes the same task of the training split, on which rivals are tuned.

    Attributes:
        feature_names: Of an observation's entries.
        heuristics: See `rivals`.

    Raises:
        SettingError: There is more to choose, or the model cannot be used.
        DataError: The recording is damaged.
    """

    def __init__(self, task: Task, make_train: Callable[[], Task]) -> None:
        self._task, self._actions = task, go_and_stop(task)
        self._recording = recording_of(task)
        self.feature_names = self._recording.feature_names
        how = task.writing
        self.heuristics = stopping_rivals(
            lambda: _stops_at_last(make_train()),
            self.feature_names,
            self._actions,
            how.hold,
            how.max_new_tokens,
        )
        self._components = task.reward.entries
        self._slots: dict[int, _Episode] = {}

    @property
    def running(self) -> list[int]:
        """Slots in mid-episode."""
        return sorted(slot for slot, episode in self._slots.items() if not episode.over)

    def begin(
        self, slots: Sequence[int], rows: Sequence[int], rngs: Sequence[np.random.Generator]
    ) -> dict[int, Outcome]:
        """Start an episode in each slot named; nothing is drawn."""
        started = {slot: _Episode(row) for slot, row in zip(slots, rows, strict=True)}
        self._slots |= started
        return {
            slot: Outcome(self._seen(episode), 0.0, False, self._info(episode))
            for slot, episode in started.items()
        }

    def play(self, actions: Mapping[int, Any]) -> dict[int, Outcome]:
        """Play one action in every slot that is in mid-episode.

        Raises:
            ValueError: An action is not in the space, or not one for each running slot is given.
        """
        if sorted(actions) != self.running:
            raise ValueError(f"actions for slots {sorted(actions)}, but {self.running} are running")
        menu = self._task.menu
        stops = {slot: menu.setting(action).stop for slot, action in actions.items()}
        return {slot: self._next(self._slots[slot], stop) for slot, stop in stops.items()}

    def _next(self, episode: _Episode, stop: bool) -> Outcome:
        texts = self._recording.texts[episode.place]
        shown = texts[episode.decision].rstrip(_HALF) if episode.decision else ""
        episode.decision += not stop
        episode.over = stop or episode.decision == len(texts) - 1
        text = texts[episode.decision]
        news = (text if episode.over else text.rstrip(_HALF))[len(shown) :]
        if episode.over:
            return self._end(episode, news)
        zeros = dict.fromkeys(self._components, 0.0)
        info = {**self._info(episode), "text": news, "reward_components": zeros}
        return Outcome(self._seen(episode), 0.0, False, info)

    def _end(self, episode: _Episode, news: str) -> Outcome:
        facts = _facts(self._task, self._recording, episode.place, episode.decision)
        score = self._task.reward.score(facts)
        info = {
            **{"row": episode.place, "kind": self._task.split.rows[episode.place].kind},
            **{"text": news, **score.info(), "reward_inputs": facts},
        }
        nothing = np.zeros(len(self.feature_names), np.float32)
        return Outcome(nothing, score.reward, True, info)

    def _seen(self, episode: _Episode) -> Any:
        return self._recording.observations[self._number(episode)].copy()

    def _number(self, episode: _Episode) -> int:
        return int(self._recording.starts[episode.place]) + episode.decision

    def _info(self, episode: _Episode) -> dict[str, Any]:
        return {
            "row": episode.place,
            "kind": self._task.split.rows[episode.place].kind,
            "expert_action": copy(self._actions[int(self._best[self._number(episode)])]),
        }

    @cached_property
    def _best(self) -> Mask:
        """Whether to stop at each decision, by hindsight."""
        judge = self._task.expert_reward
        best = stops_of(replace(self._task, reward=judge)).by_hindsight()
        judge.close()
        return best


def go_and_stop(task: Task) -> tuple[Any, Any]:
    """The action that goes on and the one that stops, of a menu without any other.

    Raises:
        SettingError: More can be chosen, or texts are drawn at random.
    """
    menu = task.menu
    actions = {menu.setting(action).stop: action for action in menu.actions}
    if len(menu.actions) != 2 or len(actions) != 2 or menu.setting(actions[False]).temperature:
        listed = "; ".join(menu.name(action) for action in menu.actions)
        raise SettingError(
            f"replay: needs a menu of one setting with temperature 0, and stop; got {listed}; set "
            "replay: false, or knobs: {stop: true}"
        )
    return actions[False], actions[True]


def recording_of(task: Task) -> Recording:
    """The recorded texts of a task, written where they are not there.

    Raises:
        SettingError: The model cannot be used.
        DataError: The recording is damaged.
    """
    inputs = _inputs(task)
    folder = cache_folder(inputs)
    if not is_sealed(folder):
        _record(task, folder, inputs)
    return load_recording(folder)


def stops_of(task: Task) -> Stops:
    """What stopping earns at every decision of a task's texts, by its reward as it is now."""
    recording, stop, end = recording_of(task), list[float](), list[float]()
    for place, texts in enumerate(recording.texts):
        facts = [_facts(task, recording, place, decision) for decision in range(len(texts))]
        *here, last = [score.reward for score in task.reward.score_many(facts)]
        stop += here
        end.append(last)
    return Stops(recording.observations, recording.starts, np.array(stop), np.array(end))


def _stops_at_last(task: Task) -> Stops:
    """The same by the reward as it is at the end of training, which is what judges."""
    task.reward.set_progress(1.0)
    return stops_of(task)


def _facts(task: Task, recording: Recording, place: int, decision: int) -> dict[str, Any]:
    written = min(decision * task.writing.hold, len(recording.tokens[place]))
    text, nats = recording.texts[place][decision], recording.surprisals[place][decision]
    return task.split.rows[place].facts(place, text, written, nats)


def _inputs(task: Task) -> dict[str, Any]:
    """All that the recorded texts and numbers depend on."""
    how, (go, _) = task.writing, go_and_stop(task)
    asked = [(row.prompt, row.keywords, row.window) for row in task.split.rows]
    return {
        "schema": SCHEMA,
        "model": fingerprint(how.model),
        "prompts": hashlib.sha256(json.dumps(asked).encode()).hexdigest(),
        "features": features_of(task),
        "setting": asdict(task.menu.setting(go)),
        "action": [list(task.menu.choice(go)), list(task.menu.sizes), list(task.menu.factors)],
        **{name: getattr(how, name) for name in ("hold", "max_new_tokens", "template", "dtype")},
    }


def features_of(task: Task) -> list[str]:
    """What is seen, as far as it can be told without the model and the menu."""
    return [
        *(f"{NUM_DIRECTIONS} of state", f"{NUM_START} of start"),
        *(f"{name}{when}" for when in ("", "_before") for name in CERTAINTY),
        *SURFACE,
        *(TARGETS if task.writing.targets else ()),
    ]


def _record(task: Task, folder: Path, inputs: Mapping[str, Any]) -> None:
    """Write the texts that are missing, `PART_ROWS` of them side by side."""
    num_rows = len(task.split.rows)
    log.info("writing %d texts, once, to %s", num_rows, folder)
    episodes: Episodes | None = None
    for path, rows in missing_parts(folder, num_rows):
        episodes = episodes or Episodes(task)
        write_part(path, episodes.feature_names, _write(episodes, rows, go_and_stop(task)[0]))
        log.info("%d of %d texts are written", rows.stop, num_rows)
    seal(folder, inputs, num_rows)


def _write(episodes: Episodes, rows: Sequence[int], go: Any) -> list[Written]:
    """Write texts to their end."""
    rngs = [np.random.default_rng(0) for _ in rows]
    started = episodes.begin(range(len(rows)), rows, rngs)
    seen = {slot: [outcome.obs] for slot, outcome in started.items()}
    texts = {slot: [episodes.text_of(())] for slot in started}
    nats = {slot: [0.0] for slot in started}
    while episodes.running:
        for slot, outcome in episodes.play(dict.fromkeys(episodes.running, go)).items():
            texts[slot].append(episodes.text_of(episodes.tokens(slot)))
            nats[slot].append(episodes.surprisal(slot))
            if not outcome.terminated:
                seen[slot].append(outcome.obs)
    return [
        Written(np.array(seen[slot]), episodes.tokens(slot), tuple(texts[slot]), tuple(nats[slot]))
        for slot in started
    ]
