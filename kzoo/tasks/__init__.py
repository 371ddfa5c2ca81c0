"""Tasks: kinds of work, each said once, in a file of its own. A task is found by its name."""

from kzoo.tasks.accuracy import Evaluation
from kzoo.tasks.asked import asked
from kzoo.tasks.classification import Prediction
from kzoo.tasks.image_classification import images_for
from kzoo.tasks.outputs import (
    as_taken,
    dtypes_in,
    has_head,
    input_spec,
    note_dtypes,
    noted_dtypes,
    output_kind,
    output_units,
    random_inputs,
)
from kzoo.tasks.registry import find_task, register_task, task_names, task_of, task_of_data
from kzoo.tasks.task import Evaluated, Reading, Result, Score, Signature, Task
