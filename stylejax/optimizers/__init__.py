"""Minimizers with one evaluation a step, and the loops that run them one at a time or as a batch."""
