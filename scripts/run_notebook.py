"""Run the code cells of a notebook and write what they show into it, with plain Python.

Belongs here: running cells in order, their outputs as Jupyter stores them. Does not belong here: what a notebook says.
Usage: run_notebook.py NOTEBOOK [OUT]; without OUT the notebook itself is written anew. Cells are plain Python: no magic commands.
"""

import ast
import base64
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

Output = dict[str, Any]


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of a fresh run. An error of a cell names the cell and ends the run."""
    mpl.use("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, start=1):
        try:
            cell["outputs"] = list(_outputs("".join(cell["source"]), number, names))
        except Exception as error:
            error.add_note(f"in code cell {number}: {''.join(cell['source'])[:200]}")
            raise
        cell["execution_count"] = number
    return notebook


def _outputs(source: str, number: int, names: dict[str, Any]) -> Iterator[Output]:
    """What a cell prints, then what its last expression shows."""
    body, said, shown = ast.parse(source), io.StringIO(), None
    last = body.body[-1] if body.body else None
    with contextlib.redirect_stdout(said):
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(body.body[:-1], []), f"cell {number}", "exec"), names)
            shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        else:
            exec(compile(body, f"cell {number}", "exec"), names)
    if said.getvalue():
        yield {"name": "stdout", "output_type": "stream", "text": _lines(said.getvalue())}
    if shown is not None:
        yield {"data": _data(shown), "execution_count": number, "metadata": {}, "output_type": "execute_result"}


def _data(shown: object) -> dict[str, Any]:
    """A value as Jupyter stores it: tables as HTML too, figures as pictures."""
    if isinstance(shown, Figure):
        picture = io.BytesIO()
        shown.savefig(picture, format="png", dpi=80, metadata={"Software": None})
        return {"image/png": base64.b64encode(picture.getvalue()).decode() + "\n", "text/plain": ["<Figure>"]}
    html = getattr(shown, "_repr_html_", None)
    plain = {"text/plain": _lines(repr(shown))}
    return {"text/html": _lines(html()), **plain} if html else plain


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main(arguments: list[str]) -> None:
    """Run one notebook."""
    if len(arguments) not in (1, 2):
        sys.exit("usage: run_notebook.py NOTEBOOK [OUT]")
    notebook, out = Path(arguments[0]), Path(arguments[-1])
    content = run(json.loads(notebook.read_text(encoding="utf-8")))
    out.write_text(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
