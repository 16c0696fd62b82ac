"""A wrapper that turns texts into the vectors of a frozen model. Knows Gymnasium, no trainer."""

from __future__ import annotations

import functools
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from strategy_rl.assembly import backbone_settings, resolve_device
from strategy_rl.backbone import load_backbone
from strategy_rl.config import BackboneConfig
from strategy_rl.errors import InputError
from strategy_rl.features import TextTable
from strategy_rl.models import resolve_model
from strategy_rl.policy.observations import ObservationEncoder
from strategy_rl.policy.pairs import PairFeatures
from strategy_rl.policy.spaces import MASK, action_spec, observation_spec

Arrays = dict[str, np.ndarray]


class TextFeatures(gym.Wrapper[Arrays, Any, Any, Any]):
    """Observations as arrays: what our own policies read, for the networks of others.

    An observation becomes a Dict of float32 arrays, of which those that the task has no use for are
    left out: `context` (C, H), the last texts; `candidates` (K, H), padded with zeros; `pairs`
    (K, P), numbers about each candidate and the context; `numbers` (M,), with one-hots for whole
    numbers. `gymnasium.wrappers.FlattenObservation` makes one vector of it.

    Each distinct text is encoded once, however many wrappers share a table.

        env = TextFeatures(gymnasium.make("strategy_rl_envs:strategy_rl/TinyReply-v0"))

    Args:
        env: An environment with texts, candidates and numbers as our trainer takes them.
        texts: Hugging Face id, local folder or `package:NAME` of a model, with one table
            for all wrappers of the process; or a table of texts, e.g. with a cache on disk.
        context_turns: How many last texts of a list are read one by one.
        pair_features: Give `pairs`.

    Raises:
        InputError: A space that cannot be read, or a model that learns.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        texts: str | TextTable = "package:all-minilm-l6-v2",
        *,
        context_turns: int = 3,
        pair_features: bool = True,
    ) -> None:
        super().__init__(env)
        special = getattr(env.unwrapped, "special_actions", ())
        self._action = action_spec(env.action_space, special)
        spec = observation_spec(env.observation_space, self._action, context_turns)
        table = None
        if spec.has_text:
            table = load_table(texts) if isinstance(texts, str) else texts
            if not table.is_frozen:
                raise InputError("texts: the model learns, so no feature would stay; freeze it")
        pairs = None
        if pair_features and table is not None and spec.max_candidates:
            pairs = PairFeatures(table, spec.num_slots)
        self._encoder = ObservationEncoder(spec, self._action, table, pairs)
        self._mask: np.ndarray = np.ones(self._action.num_logits, dtype=bool)
        self._arrays_space = self._space()
        self.observation_space = cast("gym.Space[Arrays]", self._arrays_space)

    def _space(self) -> spaces.Dict:
        spec, table, pairs = self._encoder.spec, self._encoder.table, self._encoder.pairs
        hidden = table.hidden_size if table is not None else 0
        columns = (pairs.width if pairs else 0) + spec.num_candidate_features
        shapes: dict[str, tuple[int, ...]] = {
            "context": (spec.num_slots, hidden),
            "candidates": (spec.max_candidates, hidden),
            "pairs": (spec.max_candidates, columns),
            "numbers": (spec.num_numbers,),
        }
        return spaces.Dict(
            {
                name: spaces.Box(-np.inf, np.inf, shape, np.float32)
                for name, shape in shapes.items()
                if np.prod(shape)
            }
        )

    def action_masks(self) -> np.ndarray:
        """The actions that are legal now, bool of shape (A,), as sb3-contrib asks for them."""
        return self._mask

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._arrays(observation, info), info

    def step(self, action: Any) -> tuple[Arrays, Any, bool, bool, dict[str, Any]]:
        """Play on."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        arrays = self._arrays(observation, info, to_act=not (terminated or truncated))
        return arrays, reward, terminated, truncated, info

    def _arrays(self, observation: Any, info: dict[str, Any], to_act: bool = True) -> Arrays:
        batch = self._encoder.encode([observation], [info.get(MASK)], to_act=to_act)
        self._mask = batch.mask[0].numpy()
        found = {"pairs": batch.pairs.numpy(), "numbers": batch.numbers.numpy()}
        if self._encoder.table is not None:
            found["context"] = self._encoder.table.vectors(batch.context.numpy())
            found["candidates"] = self._encoder.table.vectors(batch.candidates.numpy())
        return {name: found[name][0] for name in self._arrays_space}


@functools.cache
def load_table(model: str) -> TextTable:
    """The table of texts of a frozen model, one for each model and process."""
    config = BackboneConfig(model=model)
    path = str(resolve_model(model))
    return TextTable(load_backbone(path, backbone_settings(config), device=resolve_device("auto")))
