"""A policy of decoding control at work where people decode: inside `generate` of transformers.

    controller = PolicyController.from_pretrained("runs/NAME/policy", model=network)
    network.generate(**inputs, logits_processor=[controller], do_sample=False, max_new_tokens=64)

B rows of a batch, L tokens of prompt and text, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from gymnasium.utils.seeding import np_random
from torch import Tensor

from strategy_rl.errors import ModelError
from strategy_rl.models import resolve_model
from strategy_rl.policy import Policy
from strategy_rl.policy.saving import read_config
from strategy_rl.policy.spaces import action_spec
from strategy_rl_envs.decoding_control.drawing import Controls, draw
from strategy_rl_envs.decoding_control.knobs import Menu, Setting
from strategy_rl_envs.decoding_control.language import end_ids_of, load_language
from strategy_rl_envs.decoding_control.observing import Observer, head_of
from strategy_rl_envs.decoding_control.playing import PLAYED_SETTINGS
from strategy_rl_envs.decoding_control.reading import Reader, TokenFacts
from strategy_rl_envs.decoding_control.surface import Text
from strategy_rl_envs.decoding_control.targets import NO_TARGET, Target
from strategy_rl_envs.decoding_control.task import Writing
from strategy_rl_envs.kit.errors import SettingError

TASK = "strategy_rl/DecodingControl-v0"


@dataclass(frozen=True)
class Steering:
    """What a controller must know of its task and its model.

    Attributes:
        menu: What can be chosen.
        observer: Makes the observations.
        hold: Tokens that are written between two decisions.
        max_new_tokens: The most tokens of a text.
        stop_id: The token that ends a text in `generate`.
        end_ids: All tokens that end one.
        pad_ids: Tokens that may stand before a prompt to fill its row.
        reader: Reads what a text is to reach.
        targets: Whether the policy, or a setting on its menu, goes by that.
    """

    menu: Menu
    observer: Observer
    hold: int
    max_new_tokens: int
    stop_id: int
    end_ids: frozenset[int]
    pad_ids: frozenset[int]
    reader: Reader
    targets: bool


@dataclass
class _Row:
    """One text in the making."""

    prompt: frozenset[int]
    target: Target
    rng: np.random.Generator  # of tokens
    decisions: np.random.Generator
    tokens: list[int] = field(default_factory=list)
    choice: tuple[int, ...] | None = None
    setting: Setting = field(default_factory=Setting)
    is_over: bool = False

    @property
    def text(self) -> Text:
        return Text(self.prompt, self.tokens, self.choice, self.target)


class PolicyController(transformers.LogitsProcessor):  # type: ignore[misc]  # untyped
    """Decodes as the environment did that the policy was trained in.

    It draws each token itself and leaves only that one possible, so it makes no difference whether
    `generate` samples. Give each row the seed of an episode, and its text is the episode's, but for
    the last bits of the model's scores. What the generation settings do to scores before it, such
    as a `repetition_penalty` of their own, the policy has not seen in training: switch that off.
    Prompts of a batch are padded on the left. Beams are refused.

    Args:
        policy: Trained on `DecodingControl-v0`.
        steering: Of its task and the model.
        seeds: One a row, each time that `generate` is called; None: fresh ones.
        greedy: Take the policy's most probable setting; else draw one.
        targets: `{"keywords": [..], "window": [fewest, most]}` for each row, each time that
            `generate` is called, where the task has `targets`; both may be left out.

    Attributes:
        seeds: May be changed between calls of `generate`.
        targets: May be changed between calls of `generate`.
        chosen: Names of the settings of each row, a decision each, of the latest call.

    Raises:
        ModelError: Policy and task do not fit.
    """

    def __init__(
        self,
        policy: Policy,
        steering: Steering,
        *,
        seeds: Sequence[int] | None = None,
        greedy: bool = True,
        targets: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        expected = steering.observer.size, action_spec(steering.menu.space).sizes
        found = policy.spec.observation.num_numbers, policy.spec.action.sizes
        if expected != found:
            raise ModelError(
                f"the policy reads {found[0]} numbers and picks from {found[1]}, but its task and "
                f"this model give {expected[0]} and {expected[1]}; give the model that it was "
                "trained with"
            )
        self.policy, self.seeds, self.greedy, self.targets = policy, seeds, greedy, targets
        self.chosen: list[list[str]] = []
        self._steering = steering
        self.reset()

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        *,
        model: Any = None,
        tokenizer: Any = None,
        seeds: Sequence[int] | None = None,
        greedy: bool = True,
        targets: Sequence[Mapping[str, Any]] | None = None,
    ) -> PolicyController:
        """Load the policy of a run. Nothing that is named in its folder is executed.

        Args:
            directory: `policy/` of a run, or a copy of it.
            model: The model that will write, as it is or as a folder; None: the folder that the
                policy's task names.
            tokenizer: Its own; None: that of the folder.
            seeds: See the class.
            greedy: See the class.
            targets: See the class.

        Raises:
            ModelError: It is no policy of decoding control, or the model cannot be loaded.
        """
        directory = Path(directory)
        settings = _settings(directory, read_config(directory).get("task"))
        policy = Policy.from_pretrained(directory)
        try:
            steering = _steering(settings, model, tokenizer)
        except SettingError as error:
            raise ModelError(f"{directory}: {error}") from error
        return cls(policy, steering, seeds=seeds, greedy=greedy, targets=targets)

    def reset(self) -> None:
        """Forget the texts: the next call begins new ones.

        `generate` called again does so by itself, but for prompts that are what was written last.
        """
        self._rows: list[_Row] = []
        self._seen: Tensor | None = None  # input_ids of the latest call
        self._drawn = self._previous = self._starts = torch.empty(0)
        self._gaps: list[int] = []

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores that leave one token of each row possible.

        Args:
            input_ids: Int64 (B, L), padded on the left.
            scores: (B, V), of the next token, as the model gives them.

        Raises:
            ValueError: Other tokens were written than were drawn, or seeds or targets do not fit
                the batch.
        """
        scores = scores.float()
        if self._goes_on(input_ids):
            self._note()
        else:
            self._begin(input_ids, scores)
        self._decide(scores)
        self._drawn = self._draw(input_ids, scores)
        self._seen, self._previous = input_ids, scores
        forced = torch.full_like(scores, -torch.inf)
        return forced.scatter_(1, self._drawn[:, None], 0.0)

    def _goes_on(self, input_ids: Tensor) -> bool:
        """Whether this call is about the next token of the texts of the one before."""
        seen = self._seen
        running = [place for place, row in enumerate(self._rows) if not row.is_over]
        if seen is None or not running or input_ids.shape != (len(seen), seen.shape[1] + 1):
            return False
        if input_ids[running].equal(torch.cat([seen, self._drawn[:, None]], 1)[running]):
            return True
        prompt = seen.shape[1] - len(self._rows[running[0]].tokens)
        if input_ids[:, :prompt].equal(seen[:, :prompt]):
            raise ValueError(
                "other tokens were written than the controller had drawn; call `generate` with "
                "num_beams=1 and no logits processor behind this one; before other prompts that "
                "begin as the last ones did, call `reset()`"
            )
        return False

    def _begin(self, input_ids: Tensor, scores: Tensor) -> None:
        """Start a text in each row, after the prompts."""
        ids = input_ids.tolist()
        if self.seeds is not None and len(self.seeds) != len(ids):
            raise ValueError(f"seeds: got {len(self.seeds)} for a batch of {len(ids)} rows")
        targets = self._targets(len(ids))
        self._gaps = _gaps(ids, self._steering.pad_ids)
        self._rows = []
        for place, (row, gap) in enumerate(zip(ids, self._gaps, strict=True)):
            seed = None if self.seeds is None else self.seeds[place]
            entropy = None if seed is None else [seed, 1]
            draws = np_random(seed)[0], np.random.default_rng(entropy)
            self._rows.append(_Row(frozenset(row[gap:]), targets[place], *draws))
        self.chosen = [[] for _ in ids]
        self._previous = scores
        self._starts = self._steering.observer.starts(scores)

    def _targets(self, count: int) -> list[Target]:
        """What each row is to reach."""
        if not self._steering.targets:
            return [NO_TARGET] * count
        if self.targets is None or len(self.targets) != count:
            found = "none" if self.targets is None else str(len(self.targets))
            raise ValueError(
                f"targets: the policy goes by what a text is to reach, got {found} for a batch of "
                f'{count} rows; give each row a mapping such as {{"keywords": ["fox"]}}, or {{}}'
            )
        return [_target(given, self._steering.reader) for given in self.targets]

    def _note(self) -> None:
        """Add what was drawn to the texts."""
        for row, token in zip(self._rows, self._drawn.tolist(), strict=True):
            if token in self._steering.end_ids:
                row.is_over = True
            if not row.is_over:
                row.tokens.append(token)

    def _decide(self, scores: Tensor) -> None:
        """Ask the policy about the rows that are due, and end those that stop or are full."""
        steering = self._steering
        for row in self._rows:
            row.is_over |= len(row.tokens) >= steering.max_new_tokens
        due = [
            place
            for place, row in enumerate(self._rows)
            if not row.is_over and len(row.tokens) % steering.hold == 0
        ]
        if not due:
            return
        texts = [self._rows[place].text for place in due]
        seen = steering.observer.observe(scores[due], self._previous[due], self._starts[due], texts)
        for place, action in zip(due, self._actions(seen, due), strict=True):
            row = self._rows[place]
            row.choice, row.setting = steering.menu.choice(action), steering.menu.setting(action)
            row.is_over = row.setting.stop
            self.chosen[place].append(steering.menu.name(action))

    def _actions(self, seen: np.ndarray, due: Sequence[int]) -> np.ndarray:
        """One action of the policy for each observation."""
        distribution = self.policy.evaluate(self.policy.encode(list(seen))).distribution
        if self.greedy:
            return distribution.mode().cpu().numpy()
        count = self.policy.spec.action.num_draws
        uniforms = np.stack([self._rows[place].decisions.random(count) for place in due])
        drawn = distribution.sample(torch.from_numpy(uniforms).to(self.policy.device))
        return drawn.cpu().numpy()

    def _draw(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The next token of each row, (B,); of those that are over the one that ends a text."""
        tokens = torch.full((len(scores),), self._steering.stop_id, device=scores.device)
        running = [place for place, row in enumerate(self._rows) if not row.is_over]
        if not running:
            return tokens
        rows = [self._rows[place] for place in running]
        ids = input_ids[running].clone()
        for place, gap in enumerate(self._gaps[row] for row in running):
            ids[place, :gap] = ids[place, -1].clone()  # padding repeats a token that is there
        uniforms = torch.tensor([row.rng.random() for row in rows], dtype=torch.float64)
        controls = Controls.of([row.setting for row in rows], scores.device)
        tokens[running] = draw(
            scores[running],
            ids,
            controls,
            uniforms.to(scores.device),
            [row.target.next_ids(row.tokens) if row.setting.keyword_bonus else [] for row in rows],
            sorted(self._steering.end_ids),
        )
        return tokens


def _settings(directory: Path, task: Any) -> dict[str, Any]:
    """How the task of a policy has texts written; what it says of data and rewards is left out.

    Raises:
        ModelError: None is told, or it is not decoding control.
    """
    if not isinstance(task, Mapping) or not isinstance(task.get("settings"), Mapping):
        raise ModelError(f"{directory}: it does not tell its task; export the policy again")
    name = str(task.get("id")).rpartition(":")[2]
    if name != TASK:
        raise ModelError(f"{directory}: a policy for {name!r}, expected one for {TASK!r}")
    writing = {"knobs", "presets", *(entry.name for entry in fields(Writing))}
    settings = {n: value for n, value in task["settings"].items() if n not in PLAYED_SETTINGS}
    strange = sorted(settings.keys() - writing)
    if strange:
        raise ModelError(
            f"{directory}: its task has the setting {strange[0]!r}, which this version does not "
            "know; use the version that it was trained with"
        )
    if "model" not in settings:
        raise ModelError(f"{directory}: its task names no model; export the policy again")
    return settings


def _steering(settings: dict[str, Any], model: Any, tokenizer: Any) -> Steering:
    """What the settings of a task mean for a model.

    Raises:
        SettingError: A setting is out of its range, or the model cannot be loaded.
    """
    menu = Menu.of(settings.pop("knobs", None), settings.pop("presets", None))
    if isinstance(model, str | Path):
        settings["model"], model = str(model), None
    how = Writing(**settings)
    if model is None:
        language = load_language(str(resolve_model(how.model)), how.dtype)
        model, tokenizer = language.network, tokenizer or language.tokenizer
    if tokenizer is None:
        folder = str(resolve_model(how.model))
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    ends = end_ids_of(model, tokenizer)
    facts = TokenFacts(tokenizer)
    stop = getattr(model.generation_config, "eos_token_id", None)
    listed = [i for i in (stop if isinstance(stop, list | tuple) else [stop]) if i is not None]
    pads = {tokenizer.pad_token_id, getattr(model.generation_config, "pad_token_id", None), *ends}
    return Steering(
        menu=menu,
        observer=Observer(head_of(model), facts, menu, how.max_new_tokens, ends, how.targets),
        hold=how.hold,
        max_new_tokens=how.max_new_tokens,
        stop_id=listed[0] if listed else ends[0],
        end_ids=frozenset(ends),
        pad_ids=frozenset(pads - {None}),
        reader=Reader(tokenizer, how.template),
        targets=how.targets or any(menu.setting(a).keyword_bonus for a in menu.actions),
    )


def _target(given: Mapping[str, Any], reader: Reader) -> Target:
    """Read one row's target.

    Raises:
        ValueError: It is none.
    """
    keywords, window = given.get("keywords", ()), given.get("window")
    if given.keys() - {"keywords", "window"} or isinstance(keywords, str):
        raise ValueError(f"targets: expected lists of keywords and a window, got {dict(given)}")
    return reader.target(keywords, None if window is None else (window[0], window[1]))


def _gaps(rows: Sequence[Sequence[int]], pad_ids: frozenset[int]) -> list[int]:
    """How many tokens of padding each row begins with; the longest prompt has none."""
    runs = []
    for row in rows:
        run = 0
        while run < len(row) and row[run] == row[0] and row[0] in pad_ids:
            run += 1
        runs.append(run)
    return [run - min(runs) for run in runs]
