"""Tables: reading them, the kinds of their columns, and how a network takes them.

read        `read_table`: files, data frames, dicts of columns
delimited   CSV and TSV files, cell by cell
kinds       whether a column is a number, a category or a date
cells       a text as a number or date, and values as text
columns     `Table` and `Column`
misread     text that seems to be meant as numbers or dates
checks      tables and targets that nothing can be learned from
encoder     `TableEncoder`: standardised numbers, codes of categories, the target
names       names of columns: the nearest one, the natural order
"""
