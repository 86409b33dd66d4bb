"""A finished run put to use: bundles made, checked and asked. What others may use is in `__init__.pyi`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
