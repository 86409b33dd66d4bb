"""The built-in faces: rendered, no download."""
