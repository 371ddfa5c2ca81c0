"""The verbs on models and runs: fit writes a run, evaluate, predict and generate read it. Those with a package of their
own: fine_tune in finetuning, tune in search, export in exporting, bench in benching.
"""

from kzoo.verbs.answer import generate, predict
from kzoo.verbs.applications import decode_predictions, preprocess_input
from kzoo.verbs.attention import AttentionMaps, attention_maps
from kzoo.verbs.evaluate import evaluate
from kzoo.verbs.feed import Feed, built, data_of, feed_of, holds_of, reading_images
from kzoo.verbs.find_rate import RateSearch, as_before, find_learning_rate, fresh
from kzoo.verbs.fit import fit
from kzoo.verbs.inside import EmbeddingMap, GateMaps, PositionMap, embedding_map, gate_maps, position_map
from kzoo.verbs.ready import Ready, ready_of
