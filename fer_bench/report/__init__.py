"""Pages of a leaderboard. What others may use is in `__init__.pyi`, imported when used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
