"""A bundle behind an API and a page, on this machine."""
