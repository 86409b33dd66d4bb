"""fer_bench: which model, with which treatment of class imbalance, and can the answer be believed?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
