"""Extractive summarization: pick sentences of a document one at a time, or stop."""
