"""LLVM IR of a plan. Each kind of loop has a file whose `emit` writes it (see `plan/kinds.py`):
elementwise, reduction, argmax, argsort, cumulative, matmul, convolution, convolution_weight,
max_pool, fold, scatter, put_rows, concat, pad, random, scan, attention, attention_derivative.

module        the LLVM modules: a function per task, and drivers
driver        what each thread runs: a table of calls
team          what threads do between jobs, and how they meet
loops         the loops of one function, and the elements that they compute
builder       what all emitters share
epilogue      bias and activation while a product is in registers
matmul_tiles  products, tile by tile (`vectors`: its instructions)
winograd      convolutions with kernels of 3 × 3, by tiles
slides        blocks of sums of convolutions (`slide_operands`: the copies that they read)
running_tiles loops with running values on the stack
attention_blocks  what attention and its derivative share
"""
