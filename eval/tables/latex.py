"""Tables as LaTeX (packages booktabs and graphicx), whatever their names and notes contain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDE = 10
"""Tables with more columns are shrunk to the width of the page."""

ESCAPED = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{special: f"\\{special}" for special in "&%$#_{}"},
        "<": r"\textless{}",  # in TeX's own encoding these three are other characters
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "−": "$-$",
        "–": "--",
        "·": r"$\cdot$",
        "≥": r"$\geq$",
        "…": r"\ldots{}",
    }
)


def escape(text: str) -> str:
    r"""Text that LaTeX prints as it is.

    >>> escape("ours_2 ~ 5 % ↑")
    'ours\\_2 \\textasciitilde{} 5 \\% $\\uparrow$'
    """
    return " ".join(text.split()).translate(ESCAPED)


def bold(text: str) -> str:
    r"""Text that LaTeX prints bold.

    >>> bold("5 %")
    '\\textbf{5 \\%}'
    """
    return rf"\textbf{{{escape(text)}}}"


def latex_table(
    name: str,
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str],
    blocks: Sequence[tuple[int, str]],
) -> str:
    """Write a table environment.

    Args:
        name: what its label ends in.
        caption: without a full stop.
        header: titles of the columns.
        rows: cells as LaTeX, as long as the header.
        notes: sentences that follow the caption.
        blocks: first row and title of each further block of rows.
    """
    lines = [_line(row) for row in rows]
    for start, title in reversed(blocks):
        heading = rf"\multicolumn{{{len(header)}}}{{l}}{{\emph{{{escape(title)}}}}} \\"
        lines[start:start] = [r"\midrule", heading, r"\midrule"]
    tabular = [
        rf"\begin{{tabular}}{{{'l' * len(header)}}}",
        *(r"\toprule", _line(map(escape, header)), r"\midrule", *lines, r"\bottomrule"),
        r"\end{tabular}",
    ]
    if len(header) > WIDE:
        tabular = [r"\resizebox{\linewidth}{!}{%", *tabular[:-1], rf"{tabular[-1]}%", "}"]
    about = escape(" ".join((f"{caption}.", *notes)))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{about}}}",
        rf"\label{{tab:{name}}}",
        *tabular,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
