"""Pretrained language models as encoders. The only package that imports transformers and peft.

Knows nothing of policies, tasks or caches.
"""

from strategy_rl.backbone.encoder import Backbone, pool
from strategy_rl.backbone.loading import load_backbone
from strategy_rl.backbone.settings import BackboneSettings, LoraSettings

__all__ = [
    "Backbone",
    "BackboneSettings",
    "LoraSettings",
    "load_backbone",
    "pool",
]
