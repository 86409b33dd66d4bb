"""Splits and folds: who trains, who selects, who is scored."""
