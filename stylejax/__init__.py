"""A Neural Algorithm of Artistic Style (Gatys, Ecker and Bethge 2015), reimplemented in JAX.

The public names are those of `__init__.pyi`. Each is imported at its first use, so that `import stylejax` is fast and
`stylejax --help` does not load jax.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
