"""The doctor for models of PyTorch; imported when `chainrule.interop.torch.diagnose` is called.

diagnosis     `diagnose`
modules       the training of a PyTorch model, as the doctor sees it
changes       changes of it
layers        PyTorch's modules by the doctor's kinds
surroundings  what is set while PyTorch computes: one thread, own random numbers
"""
