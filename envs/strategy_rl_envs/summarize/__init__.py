"""Abstractive summarization: write the summary of a document."""
