"""`ostinato doctor`: checks of everything that could end a long run early, before it begins."""

import textwrap

from framework.workflow.experiment import open_experiment
from framework.workflow.preflight import CHECKS, preflight


def run(arguments: list[str]) -> int:
    """Print what will be checked and a line for each check when it ends; return 1 if one of them fails."""
    plan = open_experiment("doctor", arguments).plan
    print(f"{plan.experiment.__module__}.{plan.experiment.__name__}, {len(CHECKS)} checks:")
    what = "; ".join(check.what for check in CHECKS.values())
    print(textwrap.fill(what, 100, initial_indent="  ", subsequent_indent="  "))
    failed = 0
    for name, verdict, found in preflight(plan):
        failed += verdict == "FAIL"
        print(f"  {verdict:4}  {name:9}  {found}", flush=True)
    print(f"{failed} of {len(CHECKS)} checks failed" if failed else "all checks passed", flush=True)
    return int(bool(failed))
