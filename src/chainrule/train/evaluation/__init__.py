"""What a model is judged by.

objective   the loss, by name, module or function
metrics     accuracy, F1, AUC, R², …
inference   `evaluate` and `predict`: a model on many rows
batches     data as batches (x, y)
modes       training and evaluation mode
"""
