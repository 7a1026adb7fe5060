"""`ostinato show`: what an experiment is made of, before anything is trained."""

from framework.catalogue import shown
from framework.workflow.experiment import open_experiment
from framework.workflow.measures import measures


def run(arguments: list[str]) -> None:
    """Print resolved hyperparameters with their origin, parameter counts, receptive field and estimated memory."""
    opened = open_experiment("show", arguments)
    plan, experiment = opened.plan, opened.plan.experiment
    print(f"{experiment.__module__}.{experiment.__name__}\n{(experiment.__doc__ or '').strip()}\n")
    for section, instance in (("model", plan.system), ("data", plan.data)):
        described = type(instance).documentation()
        for name, parameter in type(instance).hyperparameters.items():
            if parameter.is_argument:
                value, default = getattr(instance, name), parameter.default
                origin = "command line" if value != default else type(instance).origin(name).__name__
                origin = "--seed" if (section, name) == ("data", "seed") else origin
                print(f"  {f'{section}.{name}':34} {shown(value):28} {origin:16} {described.get(name, '')}")
    for name, parameter in experiment.hyperparameters.items():
        if parameter.kind == "trainer":
            value = plan.trainer.get(name, opened.settings.get(name))
            flag = name if name == "seed" else f"trainer.{name}"
            print(f"  {flag:34} {shown(value):28} {experiment.origin(name).__name__}")
    print()
    for line in measures(plan):
        print(f"  {line}")
