"""Episodes side by side: rows, actions and rewards of one frozen model. Knows no Gymnasium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from strategy_rl_envs.decoding_control.data import Row
from strategy_rl_envs.decoding_control.knobs import Setting
from strategy_rl_envs.decoding_control.language import Ids, Language, load_language
from strategy_rl_envs.decoding_control.observing import Array, Observer
from strategy_rl_envs.decoding_control.reading import Reader, TokenFacts
from strategy_rl_envs.decoding_control.surface import Text
from strategy_rl_envs.decoding_control.targets import Target
from strategy_rl_envs.decoding_control.task import Task
from strategy_rl_envs.decoding_control.writing import Order, Writer
from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.kit.rows import Split


class Outcome(NamedTuple):
    """What a slot is like after `begin` or an action.

    Attributes:
        obs: Float32 (F,); zeros where the episode is over and nothing is left to decide.
        reward: 0 before the end, or what the step has added to the text's worth (`Task.dense`).
        terminated: Whether the episode is over.
        info: See `env.DecodingControl`.
    """

    obs: Array
    reward: float
    terminated: bool
    info: dict[str, Any]


@dataclass
class _Episode:
    """One slot."""

    place: int  # of the row
    row: Row
    prompt: frozenset[int]
    target: Target
    rng: np.random.Generator
    tokens: list[int] = field(default_factory=list)
    surprisals: list[float] = field(default_factory=list)
    choice: tuple[int, ...] | None = None
    shown: str = ""  # as far as the text was told
    worth: Mapping[str, float] = field(default_factory=dict)  # of what was paid for
    over: bool = False

    @property
    def text(self) -> Text:
        return Text(self.prompt, self.tokens, self.choice, self.target)

    def paid(self, components: Mapping[str, float]) -> dict[str, float]:
        """What is paid of a text's components now, after what was paid before."""
        gains = {name: value - self.worth.get(name, 0.0) for name, value in components.items()}
        self.worth = components
        return gains

    @property
    def surprisal(self) -> float:
        """Mean, nats; 0 of an empty text."""
        return fmean(self.surprisals) if self.surprisals else 0.0


class Episodes:
    """Slots that play rows of one task.

    Args:
        task: What is played.

    Attributes:
        feature_names: Of an observation's entries.
        task: What is played.
        language: The model.
        reader: Of its tokens.

    Raises:
        SettingError: The model cannot be used, or a prompt is too long for it.
    """

    def __init__(self, task: Task) -> None:
        how = task.writing
        language = self.language = load_language(how.model, how.dtype, how.cache_mb)
        self.task, self.reader = task, Reader(language.tokenizer, how.template)
        self._prompts = _read_prompts(task.split, language, how.template, how.max_new_tokens)
        self._prefix = _shared(self._prompts)
        facts = TokenFacts(language.tokenizer)
        observer = Observer(
            language.head, facts, task.menu, how.max_new_tokens, language.end_ids, how.targets
        )
        self.feature_names = observer.feature_names
        self._writer = Writer(language, observer)
        self._slots: dict[int, _Episode] = {}

    @property
    def running(self) -> list[int]:
        """Slots in mid-episode."""
        return sorted(slot for slot, episode in self._slots.items() if not episode.over)

    def tokens(self, slot: int) -> tuple[int, ...]:
        """What a slot has written, without an end token."""
        return tuple(self._slots[slot].tokens) if slot in self._slots else ()

    def surprisal(self, slot: int) -> float:
        """Of what a slot has drawn, to the model as it is: mean, nats; 0 of nothing."""
        return self._slots[slot].surprisal

    def text_of(self, tokens: Sequence[int]) -> str:
        """Tokens as the text that rewards are told."""
        return self.reader.text(tokens)

    def begin(
        self, slots: Sequence[int], rows: Sequence[int], rngs: Sequence[np.random.Generator]
    ) -> dict[int, Outcome]:
        """Start an episode in each slot named.

        Args:
            slots: Different ones.
            rows: Which row each plays.
            rngs: One uniform number a token is drawn from each.
        """
        prompts = [self._prompts[row] for row in rows]
        started = {}
        for slot, place, rng, ids in zip(slots, rows, rngs, prompts, strict=True):
            row = self.task.split.rows[place]
            target = self.reader.target(row.keywords, row.window)
            started[slot] = _Episode(place, row, frozenset(ids), target, rng)
        self._writer.begin(slots, prompts, self._prefix, self.task.writing.max_new_tokens)
        self._slots |= started
        seen = self._writer.observe({slot: e.text for slot, e in started.items()})
        return {
            slot: Outcome(seen[slot], 0.0, False, self._info(episode))
            for slot, episode in started.items()
        }

    def play(self, actions: Mapping[int, Any]) -> dict[int, Outcome]:
        """Play one action in every slot that is in mid-episode.

        Raises:
            ValueError: An action is not in the space, or not one for each running slot is given.
        """
        if sorted(actions) != self.running:
            raise ValueError(f"actions for slots {sorted(actions)}, but {self.running} are running")
        choices = {slot: self.task.menu.choice(action) for slot, action in actions.items()}
        played = {slot: self._slots[slot] for slot in actions}
        for slot, episode in played.items():
            episode.choice = choices[slot]
            episode.over = self.task.menu.setting(actions[slot]).stop
        self._writer.drop(slot for slot, episode in played.items() if episode.over)
        orders = {
            slot: self._order(episode, self.task.menu.setting(actions[slot]))
            for slot, episode in played.items()
            if not episode.over
        }
        for slot, written in self._writer.write(orders).items():
            played[slot].tokens += written.tokens
            played[slot].surprisals += written.surprisals
            played[slot].over = written.over
        return self._outcomes(played)

    def _order(self, episode: _Episode, setting: Setting) -> Order:
        how = self.task.writing
        left = how.max_new_tokens - len(episode.tokens)
        count = min(how.hold, left)
        return Order(setting, episode.text, episode.rng.random(count), closes=count == left)

    def _outcomes(self, played: Mapping[int, _Episode]) -> dict[int, Outcome]:
        texts = {slot: self.text_of(episode.tokens) for slot, episode in played.items()}
        seen = self._writer.observe({s: e.text for s, e in played.items() if not e.over})
        judged = [s for s, episode in played.items() if episode.over or self.task.dense]
        facts = {slot: _facts(played[slot], texts[slot]) for slot in judged}
        scores = dict(zip(facts, self.task.reward.score_many(list(facts.values())), strict=True))
        outcomes = {}
        for slot, episode in played.items():
            info = self._info(episode)
            info["text"] = _news(episode, texts[slot])
            obs = seen.get(slot)
            if slot in scores:
                info |= scores[slot].info()
                info["reward_components"] = episode.paid(scores[slot].components)
            else:
                info["reward_components"] = dict.fromkeys(self.task.reward.entries, 0.0)
            if obs is None:
                obs = np.zeros(len(self.feature_names), np.float32)
                info["reward_inputs"] = facts[slot]
            else:
                info.pop("reward_values", None)  # they are of whole texts
            reward = float(sum(info["reward_components"].values()))
            outcomes[slot] = Outcome(obs, reward, episode.over, info)
        return outcomes

    def _info(self, episode: _Episode) -> dict[str, Any]:
        info: dict[str, Any] = {"row": episode.place, "kind": episode.row.kind}
        expert = self.task.expert(episode.place)
        if expert is not None and not episode.over:
            info["expert_action"] = copy(expert)
        return info


def _facts(episode: _Episode, text: str) -> dict[str, Any]:
    """What rewards may know of an episode that is over."""
    return episode.row.facts(episode.place, text, len(episode.tokens), episode.surprisal)


def _news(episode: _Episode, text: str) -> str:
    """What was added since the last time; half a character waits for its other half."""
    whole = text if episode.over else text.rstrip("\ufffd")
    news, episode.shown = whole[len(episode.shown) :], whole
    return news


@lru_cache(maxsize=8)
def _read_prompts(
    split: Split[Row], language: Language, template: str, max_new_tokens: int
) -> tuple[Ids, ...]:
    """The token ids of every row's prompt.

    Raises:
        SettingError: One leaves no room for a text.
    """
    reader = Reader(language.tokenizer, template)
    prompts = tuple(reader.prompt(row.prompt) for row in split.rows)
    room = language.max_tokens - max_new_tokens
    for row, ids in zip(split.rows, prompts, strict=True):
        if len(ids) > room:
            raise SettingError(
                f"row {row.id!r}: its prompt takes {len(ids)} tokens, but the model has room for "
                f"{room} ({language.max_tokens} less max_new_tokens {max_new_tokens}); lower "
                f"max_prompt below its {len(row.prompt)} characters, so that such rows are left out"
            )
    return prompts


def _shared(prompts: Sequence[Ids]) -> Ids:
    """What all prompts begin with and go on after: a template's words are read once."""
    first, last = min(prompts), max(prompts)
    room = min(map(len, prompts)) - 1
    same = [one == other for one, other in zip(first, last, strict=False)]
    return first[: min([*same, False].index(False), room)]
