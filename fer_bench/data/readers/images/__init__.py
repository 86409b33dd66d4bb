"""Image files in any of the layouts that they are given out in."""
