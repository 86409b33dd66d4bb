"""Networks in pure Keras 3: Keras and its backend are imported in here only, inside functions."""
