"""The training loop.

fit              `fit`, which checks its arguments and makes a `Trainer`
trainer          the loop over epochs and steps, and what a checkpoint holds of it
step             one step: forward, backward, clipping, update
schedule_ahead   a schedule advanced by several steps before they are run
early_stopping   the monitored value, patience, the best weights
arguments        checks of `fit`'s arguments
first_batch      checks on the first batch: model, loss, metrics
targets          predictions and targets that do not fit the loss
refusals         steps that the guard refuses, and the error when training cannot go on
untrained        parameters that nothing trains
history          `History`: a row per epoch, gradient norms
progress         the bar and the lines on the screen
callback         `Callback`
interrupt        Ctrl-C
find_lr          `find_lr`: a learning rate to begin with
"""
