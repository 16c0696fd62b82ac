"""Tasks for policies made of language models, as Gymnasium environments.

Importing this package registers the tasks and nothing more: a task's module is imported when
`gymnasium.make("strategy_rl_envs:strategy_rl/<Task>-v0")` first wants it, and `reward`, which makes
a function a reward, when it is first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import register

if TYPE_CHECKING:
    from strategy_rl_envs.rewards.function import reward

__all__ = ["TASKS", "reward"]

_PROBES = "strategy_rl_envs.probes"

# id without namespace and version -> (entry point, further arguments of `register`)
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ReplySelection": ("strategy_rl_envs.reply_selection.env:ReplySelection", {}),
    "Selection": ("strategy_rl_envs.from_data.env:selection", {}),
    "Classification": ("strategy_rl_envs.from_data.env:classification", {}),
    "Summarization": ("strategy_rl_envs.summarization.env:Summarization", {}),
    "ControlledGeneration": ("strategy_rl_envs.controlled_generation.env:ControlledGeneration", {}),
    "Summarize": ("strategy_rl_envs.summarize.env:Summarize", {}),
    "DecodingControl": (
        "strategy_rl_envs.decoding_control.env:DecodingControl",
        {"vector_entry_point": "strategy_rl_envs.decoding_control.vector:DecodingControlVector"},
    ),
    "TinyReply": ("strategy_rl_envs.tiny_reply:TinyReply", {}),
    "TinyWriting": ("strategy_rl_envs.tiny_writing:TinyWriting", {}),
    "ProbeOneAction": (f"{_PROBES}.values:OneAction", {}),
    "ProbeObservation": (f"{_PROBES}.values:ObservationReward", {}),
    "ProbeDelay": (f"{_PROBES}.values:DelayedReward", {}),
    "ProbeTruncation": (f"{_PROBES}.values:RandomTruncation", {}),
    "ProbeAction": (f"{_PROBES}.choices:ActionReward", {}),
    "ProbeObservationAction": (f"{_PROBES}.choices:MatchObservation", {}),
    "ProbeMask": (f"{_PROBES}.choices:MaskedArms", {}),
    "ProbeBandit": (f"{_PROBES}.choices:Bandit", {}),
    # Episodes of 100 steps by an outer limit, as in the published test that this repeats.
    "ProbeIdentity": (f"{_PROBES}.choices:Identity", {"max_episode_steps": 100}),
    "ProbeMaskedIdentity": (
        f"{_PROBES}.choices:Identity",
        {"max_episode_steps": 100, "kwargs": {"num_actions": 70, "num_illegal": 55}},
    ),
    "ProbeCandidates": (f"{_PROBES}.candidates:EqualWord", {}),
    "ProbeStopping": (f"{_PROBES}.stopping:OptimalStopping", {"max_episode_steps": 200}),
    "ProbeDecoding": (f"{_PROBES}.decoding:Decoding", {}),
}

for _name, (_entry_point, _arguments) in TASKS.items():
    register(f"strategy_rl/{_name}-v0", entry_point=_entry_point, **_arguments)


def __getattr__(name: str) -> Any:
    if name == "reward":
        from strategy_rl_envs.rewards.function import reward

        return reward
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
