"""Controlled generation: write a text that keeps to what the prompt asks for."""
