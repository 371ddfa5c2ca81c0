"""The engine: what is learned, the compiled step under every strategy, and the loop around it."""

from kzoo.engine.callbacks import remembered, remind
from kzoo.engine.compiling import (
    Choices,
    Compiled,
    compile_kept,
    compile_optimizer,
    compile_supervised,
    described,
    own_compile,
    recipe_loss,
    recipe_metrics,
    recipe_of,
)
from kzoo.engine.engines import make_engine
from kzoo.engine.freezing import (
    described_rates,
    factors_of,
    freeze,
    freezing_of,
    named_layers,
    restore_flags,
    set_trainable,
    trainable_flags,
)
from kzoo.engine.kernels import Kernels
from kzoo.engine.loop import Action, Place, Trainer, every
from kzoo.engine.losses import Share, times, wide
from kzoo.engine.mistakes import batches_checked
from kzoo.engine.objective import Objective, Phase, Supervised, unchanged
from kzoo.engine.optimizers import adds_only, build_optimizer, optimizer_of, skip_biases_and_norms
from kzoo.engine.precision import check_precision, precise, scaled
from kzoo.engine.progress import TrainingProgress, numbers
from kzoo.engine.schedules import SCHEDULES, Rising, current_rate, follows_schedule, inner, rate_setter
from kzoo.engine.seeds import own_seeds
from kzoo.engine.state import RATE, metrics_of, scales_of, state_of
from kzoo.engine.step import Engine, compiled
from kzoo.engine.strategies import (
    CLUSTERS,
    NAMES,
    device_names,
    logical_devices,
    most_replicas,
    strategy,
    strategy_name,
)
from kzoo.engine.xla import choose_xla, draws_otherwise, uncompilable
