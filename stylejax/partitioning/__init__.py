"""Evaluation of one large image in parts, exactly: tiles, shards, and the memory that they take."""
