"""Weights: by name between styles and files (`store`), and the published ones (`table`, which needs no Keras)."""
