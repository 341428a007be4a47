"""Exact evaluation of one large image by tiles or shards, and prediction of its memory."""
