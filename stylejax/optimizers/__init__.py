"""Minimizers with one evaluation a step, the loop that runs them, and the same for a batch."""
