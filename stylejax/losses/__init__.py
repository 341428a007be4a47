"""Losses of content, style and total variation, and their targets."""
