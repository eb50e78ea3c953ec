"""Backends: each turns a program into something that runs.

A backend is a function `build(program) -> run`, with `run(arrays) -> arrays`: the program's inputs
in order go in, its outputs in order come out. What a program is stands in `program.py`.
"""
