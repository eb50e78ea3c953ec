"""What the tests of fit share: data, a network, and a run that can be stopped and restarted."""

import contextlib
import functools

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import DataLoader
from chainrule.train import Callback

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 5)).astype(np.float32)
Y = RNG.integers(0, 3, 50)
V = (RNG.normal(size=(20, 5)).astype(np.float32), RNG.integers(0, 3, 20))
STEPS, EPOCHS = 4, 4  # steps an epoch
fit = functools.partial(cr.fit, loss="cross_entropy", progress=False)


def network(seed=0):
    """The network of every run, with the weights and the random state of a seed."""
    cr.random.seed(seed)
    return Job.network()


class Kill(BaseException):
    """Stands for a process that ends here."""


class Ends(Callback):
    """Ends a run at a step, in one of several ways."""

    def __init__(self, at, how):
        self.at, self.how = at, how

    def on_begin(self, run):
        self.run = run
        if self.at == 0:
            self._end(run)

    def on_step(self, run):
        if run.step == self.at and "epoch" not in self.how:
            self._end(run)

    def on_epoch(self, run):
        if run.step >= self.at and "epoch" in self.how:
            self._end(run)

    def _end(self, run):
        if "save" in self.how:
            run.save()
        if "kill" in self.how:
            raise Kill
        run.stop()


WAYS = ["stop", "stop, epoch", "save, kill", "save, kill, epoch", "save, stop", "kill"]
DATA = {
    "arrays": lambda: (X, Y),
    "loader": lambda: DataLoader((X, Y), 13, shuffle=True, seed=3),
    "list": lambda: [(X[k : k + 13], Y[k : k + 13]) for k in range(0, 50, 13)],
}
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.5, momentum=0.9, nesterov=True, weight_decay=0.01),
    "AdamW": lambda p: optim.AdamW(p, lr=0.05),
    "NAdam": lambda p: optim.NAdam(p, lr=0.05),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.5),
}
SCHEDULES = {
    "none": lambda o: None,
    "StepLR": lambda o: optim.StepLR(o, 2, 0.5),
    "WarmupCosine": lambda o: optim.WarmupCosine(o, 3, STEPS * EPOCHS),
    "OneCycleLR": lambda o: optim.OneCycleLR(o, 0.5, STEPS * EPOCHS),
    "ReduceLROnPlateau": lambda o: optim.ReduceLROnPlateau(o, factor=0.5, patience=0),
}


def everything(model, optimizer):
    state = {**model.state_dict(), **optimizer.state_dict()}
    return {name: (v.dtype, v.tobytes()) for name, v in state.items()}


class Job:
    """A run that can start over, as in another process: other weights, another random state."""

    def __init__(self, data="loader", optimizer="AdamW", schedule="none", **settings_):
        self.data, self.optimizer, self.schedule = data, optimizer, schedule
        self.settings = {
            "epochs": EPOCHS,
            "batch_size": 13 if data == "arrays" else None,
            **settings_,
        }

    @staticmethod
    def network():
        return nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
        )

    def start(self, seed, folder=None, callbacks=(), **more):
        cr.random.seed(seed)
        self.model = self.network()
        made = OPTIMIZERS[self.optimizer](self.model.named_parameters())
        schedule, look = SCHEDULES[self.schedule](made), Ends(-1, "")
        settings_ = {**self.settings, "checkpoint": folder, "resume": folder is not None, **more}
        self.history = fit(
            self.model,
            DATA[self.data](),
            optimizer=made,
            schedule=schedule,
            callbacks=[look, *callbacks],
            **settings_,
        )
        rows = [{k: v for k, v in r.items() if k != "seconds"} for r in self.history]
        return {
            "tensors": everything(self.model, made),
            "random": cr.random.default.state.numpy().tolist(),
            "schedule": None if schedule is None else repr(schedule.state_dict()),
            "history": repr({**self.history.to_dict(), "epochs": rows}),
            "step": look.run.step,
        }

    def until(self, at, how, folder, seed=1, **more):
        with contextlib.suppress(Kill):
            self.start(seed, folder, [Ends(at, how)], **more)
