"""`ostinato doctor`: checks of everything that could end a long run early, before it begins."""

from typing import TYPE_CHECKING, Any

from framework.workflow.command import ExperimentCommand

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Doctor(ExperimentCommand):
    """Check an experiment before a long run: devices, data, batches, a few training steps, the generation of a held-out
    clip, disk space and tracking. Each check prints a line when it ends. The exit status is 1 if one of them fails.
    """

    group = "experiments"
    purpose = "check"
    summary = "check data, memory, devices and disk before a long run"
    examples = ("ostinato doctor {name} --data recordings/",)

    def run(self, plan: "Plan", settings: Any) -> int:
        """Print what will be checked, and a line for each check when it ends."""
        import textwrap

        from framework.workflow.preflight import CHECKS, preflight

        print(f"{plan.experiment.__module__}.{plan.experiment.__name__}, {len(CHECKS)} checks:")
        what = "; ".join(check.what for check in CHECKS.values())
        print(textwrap.fill(what, 100, initial_indent="  ", subsequent_indent="  "))
        failed = 0
        for name, verdict, found in preflight(plan):
            failed += verdict == "FAIL"
            print(f"  {verdict:4}  {name:9}  {found}", flush=True)
        print(f"{failed} of {len(CHECKS)} checks failed" if failed else "all checks passed", flush=True)
        return int(bool(failed))
