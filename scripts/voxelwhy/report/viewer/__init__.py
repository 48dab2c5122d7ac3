"""The viewer: three slices of any map over the template, on one self-contained page."""
