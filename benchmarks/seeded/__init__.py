"""Trainings whose faults are known, because they were put into healthy ones.

data      generated data, each from a seed
healthy   networks of some families and sizes that train on them
faults    how faults are put into them
suite     the table of faults: kind, healthy training, place
"""
