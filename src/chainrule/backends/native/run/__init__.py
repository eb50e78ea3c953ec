"""Running a planned program: its calls, its memory, its threads.

schedule  the calls in turn, and where buffers lie; kept on disk with the object code
runner    a program's memory, its native calls, and NumPy between them
team      the threads
arrays    memory on cache lines and pages
"""
