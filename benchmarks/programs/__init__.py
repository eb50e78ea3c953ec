"""Training programs described by recipes: built, trained, changed.

A collection is a folder of others: cases in a JSON file, with `data.py` (the arrays) and `build.py`
(the same programs in PyTorch, and the scores) beside it. Here its recipes become programs of
chainrule; nothing that a case says about its fault is read, except for the patch that gives its
corrected twin.

collection     the cases, their arrays and scores; the same programs in PyTorch
program        a recipe with its arrays; `Built`: all that is trained
network        the layers of a recipe as modules; `torch_network`: as PyTorch's
initial        initial weights by name
losses         losses by name
optimizers     optimizers and schedules by name
training       trains a program
patches        the collection's language of changes
remedies       structured changes, and their translation into that language
random_search  random remedies, to compare with
"""
