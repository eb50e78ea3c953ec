"""Results of different numbers of threads."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.native.run import team


@pytest.fixture
def of_threads(all_threads, monkeypatch):
    """of_threads(function, *arrays) is what one thread and two return, in bytes.

    compiled   False: the function compiles itself what it does
    """
    together, run_together = [], team.Team.run

    def counted(self, *job):
        together.append(run_together(self, *job))
        return together[-1]

    monkeypatch.setattr(team.Team, "run", counted)

    def run(function, *arrays, compiled=True):
        found = []
        for n in (1, 2):
            monkeypatch.setenv("CHAINRULE_THREADS", str(n))
            team.threads.cache_clear()
            together.clear()
            tensors = [cr.Tensor(a) for a in arrays]
            step = cr.compile(lambda *xs: function(*xs)) if compiled else function
            for _ in range(5):  # a worker that is falling asleep just now comes to the next call
                results = [np.asarray(t) for t in step(*tensors)]
                if n == 1 or n in together:
                    break
            assert n == 1 or n in together
            assert all(np.isfinite(r).all() for r in results)
            found.append([r.tobytes() for r in results])
        return found

    return run
