"""Trainings whose faults are known, because they were put into healthy ones.

data      generated data, each from a seed
healthy   networks of some families and sizes that train on them
faults    faults by kind: how each is put into a healthy training, and where it then is
"""
