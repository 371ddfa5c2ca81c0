"""Files and folders that are there whole or not at all, that show their damage, and that one process writes."""

from kzoo.files.budget import ALWAYS, budget_of, check_archive, check_budget, read_all, read_json, read_small
from kzoo.files.lock import LOCK, Lock, check_unlocked, made_aside
from kzoo.files.manifest import MANIFEST, Manifest, damage, digest_of, read_sealed, sealed
from kzoo.files.whole import (
    DiskError,
    atomic,
    atomic_folder,
    computed,
    left_behind,
    let_go,
    named_as,
    removed,
    sweep,
    synced_all,
    writing,
)
