"""How the Policy tab shows an episode: the picked sentences in their document. Data alone."""

RENDERERS = [
    {
        "name": "summary",
        "task": "strategy_rl_envs:strategy_rl/Summarization-v0",
        "sentences": "candidates",
        "texts": [
            {"title": "Summary", "field": "output"},
            {"title": "Reference", "field": "reference"},
        ],
    }
]
