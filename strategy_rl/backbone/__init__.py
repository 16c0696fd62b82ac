"""Pretrained language models, as encoders and as writers.

The only package that imports transformers and peft. Knows nothing of policies, tasks or caches.
"""

from strategy_rl.backbone.encoder import Backbone, pool
from strategy_rl.backbone.language_model import Decoding, LanguageModel, Row
from strategy_rl.backbone.loading import load_backbone, load_language_model
from strategy_rl.backbone.settings import BackboneSettings, LoraSettings

__all__ = [
    "Backbone",
    "BackboneSettings",
    "Decoding",
    "LanguageModel",
    "LoraSettings",
    "Row",
    "load_backbone",
    "load_language_model",
    "pool",
]
