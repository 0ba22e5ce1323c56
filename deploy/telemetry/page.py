"""The table of ``docs/telemetry.md`` that is made from the code: ``python -m deploy.telemetry.page`` writes it anew."""

from pathlib import Path

from bus.metrics import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"
BEGIN, END = (
    "<!-- figures: made by python -m deploy.telemetry.page from bus/metrics.py; do not edit -->\n",
    "<!-- end -->\n",
)


def figures() -> str:
    """Every figure: as OpenTelemetry and as Prometheus names it, its labels, what it means."""
    rows = ["| OpenTelemetry | Prometheus | kind, unit | labels | what it says |", "|---|---|---|---|---|"]
    for one in METRICS:
        labels = ", ".join(f"`{name}`" for name in one.attributes)
        meaning = one.meaning.replace("|", "\\|")
        rows.append(f"| `{one.name}` | `{one.prometheus}` | {one.kind}, {one.unit} | {labels} | {meaning} |")
    return "\n".join(rows) + "\n"


def made(page: str) -> str:
    """The page with its table as it should be. Raises ValueError where the page has no place for it."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE} has no place for the table: {BEGIN.strip()} ... {END.strip()}")
    return f"{before}{BEGIN}\n{figures()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
