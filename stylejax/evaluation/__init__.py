"""Measures of a result against its content and style, by a network that no run optimizes."""
