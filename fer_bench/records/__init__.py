"""What is known of runs: records and their schema, a folder of runs, published evidence. See `__init__.pyi`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
