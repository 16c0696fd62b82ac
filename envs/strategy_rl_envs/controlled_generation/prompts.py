"""What the model is asked, by kind of control: one instruction, kept short as each token costs.

The baselines read the instruction back, as they see nothing else.
"""

from __future__ import annotations

from strategy_rl_envs.controlled_generation.data import Row

_SENTIMENT = "Finish this sentence so that it is {}: "
_KEYWORDS = "Write one sentence that contains all of these words: "
_LENGTH = "Summarize this text in {} words: "
_POEM = "续写这首诗，再写{}联，每句{}字："


def instruction(row: Row) -> str:
    """The observation of a row."""
    target = row.target
    if row.kind == "sentiment":
        return _SENTIMENT.format(target["sentiment"]) + row.source
    if row.kind == "keywords":
        return f"{_KEYWORDS}{', '.join(target['keywords'])}."
    if row.kind == "length":
        return _LENGTH.format(target["words"]) + row.source
    return _POEM.format(target["couplets"], target["chars_per_line"]) + row.source


def keywords_of(prompt: str) -> list[str]:
    """The wanted words of an instruction; none where it asks for something else."""
    if not prompt.startswith(_KEYWORDS):
        return []
    return prompt.removeprefix(_KEYWORDS).removesuffix(".").split(", ")


def polarity_of(prompt: str) -> str:
    """The wanted polarity of an instruction; empty where it asks for something else."""
    return next(
        (word for word in ("positive", "negative") if prompt.startswith(_SENTIMENT.format(word))),
        "",
    )
