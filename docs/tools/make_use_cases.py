"""Makes ``contracts/use_cases.yaml`` from the catalogue's index of canonical use cases.

    python docs/tools/make_use_cases.py INDEX.yaml > contracts/use_cases.yaml

The index merges the catalogue's entries, each with its public source, into one list. Kept here is what contracts,
documentation and coverage need.
"""

import sys
from pathlib import Path

import yaml

HEAD = """\
# The canonical use cases. Made by docs/tools/make_use_cases.py, never edited by hand.
# sources: entries of the use-case catalogue that stand in this one; roles: parties; core: what is observably true.
"""


def main(index: Path) -> None:
    found = yaml.safe_load(index.read_text(encoding="utf-8"))
    families = [{key: one[key] for key in ("id", "title", "about")} for one in found["families"]]
    use_cases = [
        {
            "id": one["id"],
            "title": one["title"],
            "family": one["family"],
            "sources": one["sources"],
            "roles": one["actors"],
            "core": one["core"],
        }
        for one in found["use_cases"]
    ]
    sys.stdout.write(HEAD)
    yaml.safe_dump(
        {"families": families, "use_cases": use_cases},
        sys.stdout,
        sort_keys=False,
        allow_unicode=True,
        width=116,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
