"""`ostinato show`: what an experiment is made of, before anything is trained."""

from typing import TYPE_CHECKING, Any

from framework.workflow.command import ExperimentCommand

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Show(ExperimentCommand):
    """Print the hyperparameters of an experiment with the class that sets each of them, the parameter count of its
    networks, the receptive field, and an estimate of the memory of a training step. Nothing is trained.
    """

    group = "experiments"
    purpose = "describe"
    summary = "hyperparameters and their origin, parameter counts, memory"
    examples = ("ostinato show {name}", "ostinato show {name} --model.channels 128")

    def run(self, plan: "Plan", settings: Any) -> None:
        """Print a line for each hyperparameter, and what was measured."""
        from framework.catalogue import shown
        from framework.workflow.measures import measures

        experiment = plan.experiment
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
                value = plan.trainer.get(name, settings.get(name))
                flag = name if name == "seed" else f"trainer.{name}"
                print(f"  {flag:34} {shown(value):28} {experiment.origin(name).__name__}")
        print()
        for line in measures(plan):
            print(f"  {line}")
