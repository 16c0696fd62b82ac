"""Environments with known answers: they tell which part of a trainer is broken.

The ladder follows Andy Jones, "Debugging reinforcement learning systems" (2021), with masks,
truncation, changing numbers of candidates and optimal stopping added. Each docstring states the
answer.
"""
