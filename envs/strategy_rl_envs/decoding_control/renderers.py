"""How the Policy tab shows an episode: its text from cold to hot. Data alone; loads no model."""

from strategy_rl_envs.decoding_control.knobs import DEFAULT_KNOBS, KNOBS

_PRESETS = ["task", "settings", "presets"]

RENDERERS = [
    {
        "name": "temperature",
        "task": "strategy_rl_envs:strategy_rl/DecodingControl-v0",
        # A setting's name has a part for each knob that differs from its plain value.
        "scales": [
            {
                "title": title,
                "part": part,
                "otherwise": plain,
                "presets": {"option": _PRESETS, "value": knob},
            }
            for title, part, plain, knob in (
                ("temperature", "T", 0.0, "temperature"),
                ("top p", "p", 1.0, "top_p"),
                ("keyword bonus", "keywords", 0.0, "keyword_bonus"),
                ("end bonus", "end", 0.0, "end_bonus"),
                ("repetition penalty", "r", 1.0, "repetition_penalty"),
            )
        ],
        "factors": {
            "option": ["task", "settings", "knobs"],
            "names": [*KNOBS, "stop"],
            "otherwise": dict(DEFAULT_KNOBS),
        },
    }
]
