"""What things are: frozen records on the standard library alone, that JSON holds and reads back."""

from kzoo.records.arguments import (
    ANYTHING,
    FLAG,
    TEXT,
    Kind,
    Names,
    Number,
    OneOf,
    Optional,
    Text,
    Whole,
    Wholes,
    kind_of,
    kinds_of,
)
from kzoo.records.inputs import (
    CAFFE,
    CIFAR10,
    END,
    END_OF_WORD,
    INTERPOLATIONS,
    PADDING,
    PREPROCESSINGS,
    START,
    TF,
    TORCH,
    UNITS,
    UNKNOWN,
    ImageInputs,
    Inputs,
    NoiseInputs,
    PairInputs,
    TextInputs,
    from_config,
)
from kzoo.records.kinds import Callbacks, Moments
from kzoo.records.model import COMMON, STYLES, ModelInfo, ModelSpec, Recipe
from kzoo.records.options import Option, Options, options_of, same_plain, takes
from kzoo.records.plain import Printed, same_source, to_json, tuples
from kzoo.records.plan import Plan
from kzoo.records.verbs import (
    AUGMENTATIONS,
    VERBS,
    Answering,
    DataOptions,
    Evaluating,
    Exporting,
    FindingRate,
    FineTuning,
    Fit,
    Keeping,
    Learning,
    Searched,
    Searching,
    Timing,
    Training,
    Using,
)
from kzoo.records.weights import ForeignTable, KerasNames, TorchNames, WeightSpec
