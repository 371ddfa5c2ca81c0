"""bench: how long one waits for a model: its training, its answers, and how both grow."""

from kzoo.benching.bench import bench
