"""Our tasks under the trainers of others: texts become features that any library can read."""

from strategy_rl.interop.text_features import TextFeatures

__all__ = ["TextFeatures"]
