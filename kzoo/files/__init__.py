"""Files and folders that are there whole or not at all, that show their damage, and that one process writes."""

from kzoo.files.budget import budget_of, check_archive, check_budget, read_all, read_json
from kzoo.files.lock import LOCK, Lock, holder_of, sweep_unlocked
from kzoo.files.manifest import MANIFEST, Manifest, check_sealed, damage, digest_of, read_sealed, sealed
from kzoo.files.whole import (
    DiskError,
    atomic,
    atomic_folder,
    beside_of,
    left_behind,
    let_go,
    removed,
    sweep,
    synced_all,
    writing,
)
