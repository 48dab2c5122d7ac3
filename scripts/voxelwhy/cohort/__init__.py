"""Reading a cohort from any source: each scan is listed with its label, and each row that is not used with its reason.

Begin with `parse.parse_tables`, which calls the reader of the source; `recognise` chooses the source for `auto`.
"""
