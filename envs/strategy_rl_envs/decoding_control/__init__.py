"""Decoding control: a policy says how a frozen language model goes on with a text."""
