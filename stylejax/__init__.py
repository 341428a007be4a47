"""A Neural Algorithm of Artistic Style (Gatys, Ecker and Bethge 2015), reimplemented in JAX.

The public names are listed in `__init__.pyi`. Each is imported when it is first used, so that `import stylejax` costs
nothing and `stylejax --help` starts without jax.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
