"""Elementary functions as straight-line LLVM IR, for float32 and float64.

elementary    exp, log, tanh …, and the table of all
trigonometry  sine, cosine, tangent and their inverses
coefficients  their polynomials and constants
notation      formulas in Python's operators, exact sums and products
halves        float16 and bfloat16 to float32 and back
"""
