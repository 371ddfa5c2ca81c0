"""SIGKILL at every write, fsync and rename of a training, and at random instants: it goes on, and leaves what it would
have left.
"""

import random
import shutil

import pytest
from remains import differences, left, nothing_beside

KILL = -9


def wrong_after(forks, wholes, program, folder, **how):
    """What is wrong with a training that was killed and went on; None where the kill did not come."""
    status, said, _ = forks(program, folder, **how)
    if status == 0:
        return None
    if status != KILL:
        return f"ended by itself with {status}: {said[-300:]}"
    if not (folder / "config.json").is_file():  # killed before the run was there: it is begun again
        if folder.exists():
            return f"half a run: {sorted(p.name for p in folder.iterdir())}"
        status, said, _ = forks(program, folder)
    else:
        status, said, _ = forks(program, folder, resume=True)
    if status:
        return f"does not go on: {said[-300:]}"
    return [*differences(left(folder), wholes(program).left), *nothing_beside(folder)]


@pytest.mark.parametrize("share", [0.3, pytest.param(0.97, marks=pytest.mark.slow)])
def test_killed_once(share, forks, wholes, tmp_path):
    calls = wholes("classifier").calls
    at = max(1, int(share * calls))
    assert wrong_after(forks, wholes, "classifier", tmp_path / "run", fault=[at, KILL, 0]) == []


SWEEPS = {"classifier": 90, "mirrored": 40, "translator": 25, "gan": 25, "fine_tuning": 25, "search": 25}


@pytest.mark.slow
@pytest.mark.parametrize("program", SWEEPS)
def test_killed_at_every_kind_of_write(program, forks, wholes, tmp_path):
    """At so many of its calls, drawn."""
    calls = wholes(program).calls
    places = random.Random(0).sample(range(1, calls + 1), min(SWEEPS[program], calls))
    found = {}
    for at in sorted(places):
        (tmp_path / str(at)).mkdir()
        found[at] = wrong_after(forks, wholes, program, tmp_path / str(at) / "run", fault=[at, KILL, 0])
        print(program, at, found[at], flush=True)
        shutil.rmtree(tmp_path / str(at))
    assert not {at: wrong for at, wrong in found.items() if wrong}
    assert sum(wrong is not None for wrong in found.values()) >= len(places) - 2


@pytest.mark.slow
def test_killed_again_and_again(forks, wholes, tmp_path):
    """Each time it goes on it is killed a little later."""
    folder, calls, at, kills = tmp_path / "run", wholes("classifier").calls, 0, 0
    status, resume = None, False
    while status != 0:
        at += 1 + calls // 12
        status, said, _ = forks("classifier", folder, resume=resume, fault=[at, KILL, 0])
        assert status in (0, KILL), said
        kills += status == KILL
        resume = (folder / "config.json").is_file()
    assert kills >= 3
    assert not differences(left(folder), wholes("classifier").left)
    assert not nothing_beside(folder)
