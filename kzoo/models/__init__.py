"""Models: one file a family, each an ordered list of stages, in three Keras styles from that one definition."""
