"""Models: one file a family, each an ordered list of stages, in three Keras styles from that one definition."""

from kzoo.models.block import Block, Chain, Parallel, Side, flat, leaves, opened_blocks, registering, tensors
from kzoo.models.decode import Decoding, decode
from kzoo.models.networks import Networks, networks_of
from kzoo.models.styles import (
    Definition,
    assemble,
    attach_info,
    deep_graphs,
    input_shape_of,
    inputs_of,
    model_info,
    policy,
    style_of,
)
from kzoo.models.taps import feature_extractor, taps_of
