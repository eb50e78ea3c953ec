"""The decisions on a program, before any code is written.

    rewrites   another program, with the same results
    halves     one of them: float16 and bfloat16 are computed with in float32
    packing    another one: matrices that a loop multiplies by are packed before it
    buffers    a program's buffers, and what is decided of each
    storage    which buffers are arrays, and which are computed where they are used
    groups     which buffers one loop writes
    threads    how loops are cut into parts (`cuts`), their order, where threads meet
    in_place   what is written over an input or an output
    arena      where buffers lie that are needed inside a step only
    segments   which tasks are one native call
    stages     all of these in turn: the plan
    verify     what a legal plan is

`kinds` has a row per kind of loop, `views` says how views map indices, `loop_nests`, `reductions`,
`matmul`, `blocking`, `convolution` (with `slides`, `slide_blocks`, `winograd`: sizes, blocks and
tiles), `attention` and `bodies` (of scans) how loops run, `work` for how long, `lookups` which of
them cannot fail. Nothing here is imported before a program is planned, except `rewrites`, and what
`halves` needs where they are.
"""
