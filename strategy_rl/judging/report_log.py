"""The report for TensorBoard: figures, pictures, a few episodes, the options of the training.

Knows the report's form and the logger; plays nothing and computes no figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strategy_rl.config import Experiment, GenerationConfig
from strategy_rl.episodes import Episode
from strategy_rl.judging.work import Work
from strategy_rl.logger import episodes_digest
from strategy_rl.moments import one_part
from strategy_rl.report import render_texts


def log_report(
    work: Work, experiment: Experiment, report: dict[str, Any], episodes: dict[str, list[Episode]]
) -> None:
    """The report's figures and pictures and a few episodes for TensorBoard."""
    for name, figures in report["policies"].items():
        scalars = _scalars(figures)
        work.logger.log("evaluate", 0, {f"eval/{name}/{key}": v for key, v in scalars.items()})
    for name in experiment.logging.full_episodes:
        digest = episodes_digest(episodes.get(name, []), experiment.logging.digest_episodes)
        if digest:
            work.logger.log_text("evaluate", 0, f"episodes/{name}", digest)
    if report["texts"]:
        work.logger.log_text("evaluate", 0, "texts/ppo", render_texts(report["texts"]))
    for picture in sorted((work.path / "plots").glob("*.png")):
        path = picture.relative_to(work.path).as_posix()
        work.logger.log_image("evaluate", 0, f"plots/{picture.stem}", path)
    names = [f"eval/{name}/mean_return" for name in report["policies"]]
    work.logger.hparams(_hyperparameters(experiment), names)


def _scalars(figures: Mapping[str, Any]) -> dict[str, float]:
    """One policy's entry of the report as flat figures."""
    scalars = {
        "mean_return": figures["mean_return"],
        "ci_low": figures["ci95"][0],
        "ci_high": figures["ci95"][1],
        "episodes": figures["episodes"],
        "mean_length": figures["mean_length"],
    }
    if figures["accuracy"] is not None:
        scalars["accuracy"] = figures["accuracy"]
    if figures["kl_to_sft"] is not None:
        scalars["kl_to_sft"] = figures["kl_to_sft"]
    shares = {f"action_share/{one_part(n)}": v for n, v in figures["action_shares"].items()}
    return (
        scalars | shares | {f"component/{one_part(n)}": v for n, v in figures["components"].items()}
    )


def _hyperparameters(experiment: Experiment) -> dict[str, Any]:
    """The options of the training stages, flat, for the HParams tab."""
    sections = ["backbone", "policy", "sft", "ppo"]
    if experiment.generation != GenerationConfig():
        sections.append("generation")
    return {
        f"{section}.{key}": value if isinstance(value, int | float | str | bool) else str(value)
        for section in sections
        for key, value in getattr(experiment, section).model_dump().items()
    } | {"seed": experiment.seed}
