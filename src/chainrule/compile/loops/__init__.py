"""What is done to the loops of a graph (`ops.scan`), before any backend sees it.

loop        a scan taken apart, and put together again
unused      results that nothing reads, and what only they need; loops of no step, or one
invariants  what is the same at each step is computed before the loop
saved       what an earlier loop has computed is not computed again
totals      what is only added up, the gradients of weights, is computed after the loop
products    products with the same matrix at each step: before the loop, inside, or after it
lifting     nodes of a body computed for all steps at once, and what may be stacked for that
"""
