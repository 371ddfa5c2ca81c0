"""Transfer learning: a network that has learned elsewhere, on data of your own."""

from kzoo.finetuning.fine_tune import default_batch_size, fine_tune
from kzoo.finetuning.origin import blank, fill, origin_of
from kzoo.finetuning.stages import groups_of, stages_of
from kzoo.finetuning.tuning import Tuned
