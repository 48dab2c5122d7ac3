"""Make a notebook from a script with cells (`# %%`): python docs/examples/make_notebook.py docs/examples/photos.py

The script is what is edited and reviewed; a test compares the notebook with it. The notebook is kept without outputs,
which would be different bytes on every machine.
"""

import re
import sys
from pathlib import Path

import nbformat

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def as_notebook(script):
    """Turn the text of a script into a notebook: a code cell for each `# %%`, text for each `# %% [markdown]`."""
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}})
    parts = re.split(r"^# %%(.*)\n", script, flags=re.M)
    for number, (kind, text) in enumerate(zip(parts[1::2], parts[2::2], strict=True)):
        if "[markdown]" in kind:
            cell = nbformat.v4.new_markdown_cell(re.sub(r"^# ?", "", text.strip(), flags=re.M))
        else:
            cell = nbformat.v4.new_code_cell(text.strip())
        cell.id = f"cell-{number}"  # otherwise it would be random each time
        notebook.cells.append(cell)
    return notebook


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        nbformat.write(as_notebook(path.read_text(encoding="utf-8")), path.with_suffix(".ipynb"))
