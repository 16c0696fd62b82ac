"""The last look: every policy and every rival on the same rows of a split."""

from strategy_rl.judging.contestants import Actors
from strategy_rl.judging.judge import judge_all, judge_one
from strategy_rl.judging.report_log import log_report

__all__ = ["Actors", "judge_all", "judge_one", "log_report"]
