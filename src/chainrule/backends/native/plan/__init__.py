"""What is decided of a program before any code is written.

    rewrites   another program, with the same results
    storage    which buffers are arrays, and which are computed where they are used
    groups     which buffers one loop writes
    threads    how loops are cut into parts (`cuts`), their order, where threads meet
    updates    what is written in place
    memory     where buffers lie that are needed inside a step only
    segments   which tasks are one native call
    stages     all of these in turn: the plan

`kinds` has a row per kind of loop, `views` says how views map indices, `nests`, `reductions`,
`products` and `blocking` how loops run. Nothing here is imported before a program is planned, but
for `rewrites`.
"""
