"""The doctor for models of PyTorch; imported when `chainrule.interop.torch.diagnose` is called.

diagnosis     `diagnose`
modules       the training of a PyTorch model, as the doctor sees it
changes       changes of it
arguments     which models and optimizers there are no diagnoses of
first_rows    what the model and the loss do not take, told before
loaders       rows of PyTorch's datasets and loaders
layers        PyTorch's modules by the doctor's kinds
surroundings  what is set while PyTorch computes: one thread, own random numbers
"""
