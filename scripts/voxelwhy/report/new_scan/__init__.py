"""The page of a new scan: one or two printed sides, with the viewer of its maps next to it."""
