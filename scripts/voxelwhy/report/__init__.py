"""What people read of a study: the report page, its sections, methods text and summary, figures and tables.

Begin with `page`, which writes the report, then read `sentences` for the summary and `sections` for the order.
"""
