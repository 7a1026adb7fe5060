"""Pickles systems and data modules whose classes cannot be imported, such as those with overridden values."""

import pickle
from dataclasses import dataclass, field
from typing import Any

from framework.ancestry import behaviour, is_importable


@dataclass(frozen=True)
class ClassReference:
    """A class as it is pickled: one that a name leads to, with values of its hyperparameters in a subclass of it.

    Args:
        base: The class that a name leads to.
        values: Hyperparameters of the subclasses, the last one first.
    """

    base: type
    values: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, wanted: Any) -> "ClassReference":
        """Return the values that a class can be recreated from.

        Raises:
            PicklingError: the class defines methods and cannot be imported.
        """
        values: list[dict[str, Any]] = []
        found = wanted
        while not is_importable(found):
            if behaviour(found) or len(found.__bases__) != 1:
                raise pickle.PicklingError(f"{found.__qualname__} has methods of its own: define it in a module")
            own = {name: parameter.default for name, parameter in vars(found)["_own_hyperparameters"].items()}
            values.append({name: cls.of(v) if isinstance(v, type) else v for name, v in own.items()})
            found = found.__bases__[0]
        return cls(found, values)

    def resolve(self) -> Any:
        """Return the class."""
        made: Any = self.base
        for values in reversed(self.values):
            made = made.variant(**{n: v.resolve() if isinstance(v, ClassReference) else v for n, v in values.items()})
        return made


def new_instance(reference: ClassReference) -> Any:
    """Return an instance of a class without attributes, which pickle sets."""
    cls = reference.resolve()
    return cls.__new__(cls)


def copied(instance: Any, state: dict[str, Any]) -> Any:
    """Return another instance of the same class with a state."""
    cls: Any = type(instance)
    made = cls.__new__(cls)
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
    else:
        made.__dict__.update(state)
    return made
