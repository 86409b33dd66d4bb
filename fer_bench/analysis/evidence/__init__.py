"""Whether figures can be believed: the leak gate, what comes from elsewhere, and all of it checked again."""
