"""Annotated class attributes as typed, overridable, hashable hyperparameters.

    class HiFiGAN(Adversarial):
        mel_weight: float = 45.0

    class WithoutMel(HiFiGAN):
        mel_weight = 0.0

A subclass overrides by plain assignment. Names, types and ranges are checked when the class is created (a range is
declared with the type, as `mel_weight: NonNegativeFloat`, see `framework.annotations`), a keyword-only
`__init__` with the true signature is synthesised (jsonargparse, `save_hyperparameters` and editors all read it), and
the difference to the parent, which is what an ablation is, can be asked for.
"""

import copy
import difflib
import functools
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, dataclass_transform

from docstring_parser import parse as parse_docstring

from framework.aliases import FormerHyperparameter, announce, members_of, with_todays_names
from framework.ancestry import behaviour, is_importable, is_library, is_method, structure
from framework.annotations import complaint, matches, range_of, without_ranges
from framework.errors import OstinatoError
from framework.pickling import ClassReference, copied, new_instance

REQUIRED: Any = inspect.Parameter.empty


class HyperparameterError(OstinatoError, TypeError):
    """A class sets a hyperparameter that does not exist, or to a value of the wrong type or out of its range."""


class HyperparameterRangeError(HyperparameterError, ValueError):
    """A hyperparameter has the right type and a value out of its range."""


@dataclass(frozen=True)
class Hyperparameter:
    """One annotated class attribute.

    `kind` says where the value belongs: `value` is an argument of the class and part of a run's identity, `runtime`
    is an argument that cannot change the result, `trainer` is a default for the argument of the same name of
    Lightning's Trainer, `component` is a class (the data module), which has hyperparameters of its own, and `shape` is
    an argument that follows from the data (see `from_data`).
    `silent_at` is the default that runs had before the hyperparameter existed (see `added`).
    """

    annotation: Any
    default: Any
    kind: Literal["value", "runtime", "trainer", "component", "shape"] = "value"
    silent_at: Any = REQUIRED

    @property
    def is_argument(self) -> bool:
        """Whether the class takes it as a keyword argument."""
        return self.kind in ("value", "runtime", "shape")


def runtime(default: Any) -> Any:
    """Mark a hyperparameter that cannot change a result (workers, paths, cadences): it does not enter the identity."""
    return Hyperparameter(REQUIRED, default, kind="runtime")


def trainer(default: Any) -> Any:
    """Mark a hyperparameter that is the default of the Trainer's argument of the same name."""
    return Hyperparameter(REQUIRED, default, kind="trainer")


def added(default: Any) -> Any:
    """Mark a hyperparameter that was added when runs existed.

    At its default it does not enter the identity, so that older runs keep theirs.
    """
    return Hyperparameter(REQUIRED, default, silent_at=default)


def stored_values(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a run, checkpoint or release stored, as arguments of its class of today.

    Former names are replaced by those of today. Hyperparameters that were added since have the value that they had
    implicitly, whatever the default of the class is by now.
    """
    added_since = {n: p.silent_at for n, p in cls.hyperparameters.items() if p.silent_at is not REQUIRED}
    return added_since | with_todays_names(cls, values)


def from_data() -> Any:
    """Mark a hyperparameter that follows from the data where it is None, such as the tracks of a piano roll.

    `System.values_from_data` says what the data give. The value does not enter the identity, which has the data's.
    """
    return Hyperparameter(REQUIRED, None, kind="shape")


@dataclass_transform(kw_only_default=True)
class Hyperparameters:
    """Mixin that turns annotated class attributes into hyperparameters; a constant is spelled `ClassVar`.

    Subclasses that set a name which is no hyperparameter, a value of the wrong type or out of its range, or a mutable
    default raise `HyperparameterError` when they are created. Values may be numbers, strings, `None`, tuples of those,
    and classes.
    """

    not_in_identity: ClassVar[tuple[str, ...]] = ()
    """Names of constants that do not enter a run's identity: they describe how a result is measured."""
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {}
    _own_hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            raise HyperparameterError(
                f"{cls.__qualname__} defines __init__, which is generated from the hyperparameters: build parts in "
                f"`build`, and declare values as annotated attributes ({_where(cls)})"
            )
        renamed = members_of(cls)
        _take_former_names(cls, renamed)
        inherited = _inherited(cls)
        own = _annotated(cls) | _overridden(cls, inherited)
        for name, parameter in own.items():
            _check(cls, name, parameter)
            if parameter.default is not REQUIRED:
                setattr(cls, name, parameter.default)
        cls._own_hyperparameters = own
        cls.hyperparameters = types.MappingProxyType(inherited | own)
        cls.__init__ = _synthesise_init(cls)  # type: ignore[method-assign]
        _give_former_names(cls, renamed)

    def __str__(self) -> str:
        """Return the class and the values of its hyperparameters."""
        values = (f"{name}={getattr(self, name)!r}" for name, p in self.hyperparameters.items() if p.is_argument)
        return f"{type(self).__name__}({', '.join(values)})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Let pickle find the class, also where no name leads to it."""
        reduced: Any = super().__reduce_ex__(protocol)
        return reduced if is_importable(type(self)) else (new_instance, (ClassReference.of(type(self)),), *reduced[2:])

    def __copy__(self) -> Self:
        """Return a copy of the same class, which shares the values."""
        state: Any = self.__getstate__()
        return copied(self, dict(state))  # type: ignore[no-any-return]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy of the same class."""
        made: Self = copied(self, {})
        memo[id(self)] = made
        state: Any = copy.deepcopy(self.__getstate__(), memo)
        made.__dict__.update(copied(self, state).__dict__)
        return made

    @classmethod
    def variant(cls, **values: Any) -> type[Self]:
        """Return an anonymous subclass with these values, as overrides on the command line do."""
        return type(cls)(cls.__name__, (cls,), {"__module__": cls.__module__, "__doc__": cls.__doc__, **values})

    @classmethod
    def changes(cls) -> dict[str, tuple[Any, Any]]:
        """Return the differences between the class and its first parent: `{name: (parent's value, own value)}`.

        Hyperparameters of a component (the data module) are listed as `data.name`; an overridden method shows as
        `(None, "overridden")` under `name()`, also where a further parent overrides it.
        """
        parent = next((base for base in cls.__mro__[1:] if issubclass(base, Hyperparameters)), Hyperparameters)
        before = parent.hyperparameters
        changed: dict[str, tuple[Any, Any]] = {}
        for name, parameter in cls.hyperparameters.items():
            old = before[name].default if name in before else REQUIRED
            if old == parameter.default:
                continue
            old = None if old is REQUIRED else old
            if parameter.kind == "component" and isinstance(old, type) and isinstance(parameter.default, type):
                changed |= _component_changes(name, old, parameter.default)
            else:
                changed[name] = (old, parameter.default)
        added = [base for base in cls.__mro__ if base not in parent.__mro__]
        methods = (n for base in added for n, v in behaviour(base).items() if is_method(v) and hasattr(parent, n))
        return changed | {f"{name}()": (None, "overridden") for name in methods}

    @classmethod
    def origin(cls, name: str) -> type:
        """Return the class that gave hyperparameter `name` its value."""
        return next(
            base
            for base in cls.__mro__
            if name in vars(base).get("_own_hyperparameters", {}) or (is_mixin(base) and name in vars(base))
        )

    @classmethod
    def system(cls) -> type:
        """Return the nearest class that defines a method or a constant: it gives the class's runs their folder."""
        return cls.structure()[0]

    @classmethod
    def structure(cls) -> tuple[type, ...]:
        """Return the classes that determine what this one does: several where it combines overrides by inheritance.

        Classes of equal structure differ in the values of their hyperparameters only.
        """
        return structure(cls)

    @classmethod
    def complete(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values of an instance's hyperparameters with those that were left open; a subclass may find them.

        It is called before `build`.
        """
        return values

    def build(self) -> None:
        """Build the instance's parts. Its hyperparameters are set before."""

    def resolved(self) -> dict[str, Any]:
        """Return the instance's values of all hyperparameters that can change a result."""
        return {
            name: getattr(self, name)
            for name, parameter in self.hyperparameters.items()
            if parameter.kind == "value" and getattr(self, name) != parameter.silent_at
        }

    @classmethod
    def documentation(cls) -> dict[str, str]:
        """Return the one-line description of each hyperparameter, from the `Args:` of the classes' docstrings."""
        described: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            if issubclass(base, Hyperparameters) and base.__doc__:
                described |= {
                    p.arg_name: " ".join((p.description or "").split()) for p in _docstring(base.__doc__).params
                }
        return described


@functools.cache
def _docstring(text: str) -> Any:
    return parse_docstring(inspect.cleandoc(text))


MAX_LISTED = 40
"""Number of names that a message lists."""


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """Return a suffix that suggests the closest known name, or lists all names if there are few."""
    known = sorted(set(known))
    if close := difflib.get_close_matches(name, known, 1, 0.5):
        return f"did you mean {close[0]}?"
    return (
        f"known names: {', '.join(known)}"
        if len(known) <= MAX_LISTED
        else f"none of {len(known)} known names is like it"
    )


def _take_former_names(cls: type, renamed: Mapping[str, str]) -> None:
    """Move members that a class defines under former names to their names of today."""
    mixins = [base for base in cls.__mro__ if is_mixin(base)]
    for owner in (cls, *mixins):
        for former in [name for name in renamed if name in vars(owner) and renamed[name] not in vars(owner)]:
            announce(f"{owner.__name__}.{former}", renamed[former])
            setattr(owner, renamed[former], vars(owner)[former])
            if owner is cls:
                delattr(cls, former)


def _give_former_names(cls: type, renamed: Mapping[str, str]) -> None:
    """Let the members of a class be read, called and reached by `super()` under their former names too."""
    for former, today in renamed.items():
        if today in cls.hyperparameters:  # type: ignore[attr-defined]
            setattr(cls, former, FormerHyperparameter(today))
        elif today in vars(cls):
            setattr(cls, former, vars(cls)[today])


def _inherited(cls: type) -> dict[str, Hyperparameter]:
    """Collect what each base itself says in method-resolution order, so that diamonds combine (unlike dataclasses).

    A mixin, which is an ordinary class, overrides hyperparameters of the classes behind it by its attributes.
    """
    collected: dict[str, Hyperparameter] = {}
    for base in reversed(cls.__mro__[1:]):
        collected |= vars(base).get("_own_hyperparameters", {})
        if is_mixin(base):
            mixed = {name: value for name, value in vars(base).items() if name in collected and not is_method(value)}
            for name, value in mixed.items():
                collected[name] = replace(collected[name], default=value)
                _check(cls, name, collected[name])
    return collected


def is_mixin(cls: type) -> bool:
    """Return whether a base of a system is an ordinary class of the project or the user."""
    return not issubclass(cls, Hyperparameters) and not is_library(cls)


def _annotated(cls: type) -> dict[str, Hyperparameter]:
    hints = _own_hints(cls)
    found = {}
    for name, annotation in hints.items():
        if name.startswith("_") or typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
            continue
        value = vars(cls).get(name, REQUIRED)
        if isinstance(value, Hyperparameter):
            found[name] = replace(value, annotation=annotation)
        elif typing.get_origin(annotation) is type:
            found[name] = Hyperparameter(annotation, value, kind="component")
        else:
            found[name] = Hyperparameter(annotation, value)
    return found


def _own_hints(cls: type) -> dict[str, Any]:
    scope = vars(sys.modules[cls.__module__]) | {cls.__name__: cls}
    renamed = members_of(cls)
    annotations = inspect.get_annotations(cls)
    return {renamed.get(n, n): eval(a, scope) if isinstance(a, str) else a for n, a in annotations.items()}


def _overridden(cls: type, inherited: dict[str, Hyperparameter]) -> dict[str, Hyperparameter]:
    annotations = {*inspect.get_annotations(cls), *_own_hints(cls)}
    found = {}
    for name, value in vars(cls).items():
        if name.startswith("_") or name in annotations or is_method(value):
            continue
        if name in inherited:
            found[name] = replace(inherited[name], default=value)
        elif not any(hasattr(base, name) for base in cls.__mro__[1:]):
            raise HyperparameterError(f"{cls.__qualname__} sets {name}: {nearest(name, inherited)} ({_where(cls)})")
    return found


def _component_changes(name: str, old: type, new: type) -> dict[str, tuple[Any, Any]]:
    """List a changed component as its changed values if it is a variant of the old one, else as another class."""
    if new.__qualname__ != old.__qualname__:
        return {name: (old, new)}
    before, after = old.hyperparameters, new.hyperparameters  # type: ignore[attr-defined]
    return {
        f"{name}.{n}": (before[n].default, after[n].default) for n in after if before[n].default != after[n].default
    }


def _check(cls: type, name: str, parameter: Hyperparameter) -> None:
    value = parameter.default
    if isinstance(value, (list, dict, set)):
        raise HyperparameterError(
            f"{cls.__qualname__}.{name} = {value!r} is mutable and would be shared: use a tuple ({_where(cls)})"
        )
    if value is not REQUIRED and (said := complaint(value, parameter.annotation)):
        kind = HyperparameterRangeError if matches(value, parameter.annotation) else HyperparameterError
        raise kind(f"{cls.__qualname__}.{name} = {value!r}: {said} ({_where(cls)})")


def _where(cls: type) -> str:
    return cls.__module__


def _synthesise_init(cls: type) -> Any:
    """Return a keyword-only `__init__` with a true signature, which jsonargparse, Lightning and editors read."""
    arguments = {n: p for n, p in cls.hyperparameters.items() if p.is_argument}  # type: ignore[attr-defined]
    annotations = {n: without_ranges(p.annotation) for n, p in arguments.items()}
    empty, kind = inspect.Parameter.empty, inspect.Parameter.KEYWORD_ONLY
    defaults = {n: empty if p.default is REQUIRED else p.default for n, p in arguments.items()}
    signature = inspect.Signature(
        [
            inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(inspect.Parameter(n, kind, default=defaults[n], annotation=annotations[n]) for n in arguments),
        ]
    )

    def init(self: Any, *positional: Any, **values: Any) -> None:
        try:
            bound = signature.bind(self, *positional, **values)
        except TypeError as error:
            raise TypeError(f"{cls.__qualname__}.__init__() {error}") from None
        bound.apply_defaults()
        _initialise(self, cls, {name: value for name, value in bound.arguments.items() if name != "self"})

    init.__signature__, init.__annotations__ = signature, annotations  # type: ignore[attr-defined]
    init.__name__, init.__qualname__, init.__module__ = "__init__", f"{cls.__qualname__}.__init__", cls.__module__
    described = cls.documentation()  # type: ignore[attr-defined]
    lines = (f"    {n}: {_with_range(described[n], p)}\n" for n, p in arguments.items() if n in described)
    init.__doc__ = "Args:\n" + "".join(lines)
    return init


def _with_range(description: str, parameter: Hyperparameter) -> str:
    said = range_of(parameter.annotation)
    return f"{description.removesuffix('.')} ({said})." if said else description


def _initialise(self: Any, cls: type, values: dict[str, Any]) -> None:
    """Check and set the values, then run the initialisers of the framework classes behind the mixin."""
    for name, value in values.items():
        parameter = cls.hyperparameters[name]  # type: ignore[attr-defined]
        if isinstance(value, list):
            values[name] = value = as_tuples(value)
        _check(cls, name, replace(parameter, default=value))
    values = cls.complete(values)  # type: ignore[attr-defined]
    for base in cls.__mro__:
        if not issubclass(base, Hyperparameters) and "__init__" in vars(base):
            base.__init__(self)
            break
    for name, value in values.items():
        setattr(self, name, value)
    # As a dictionary: without one, Lightning would look for them in the local variables of the calling frame.
    self.save_hyperparameters(dict(values), logger=False)
    try:
        self.build()
    except Exception as error:
        if not _is_too_large(error):
            raise
        changed = {name: value for name, value in values.items() if value != cls.hyperparameters[name].default}  # type: ignore[attr-defined]
        given = ", ".join(f"{name} = {value}" for name, value in changed.items())
        own = f"{cls.__qualname__}.{given}" if given else cls.__qualname__
        raise HyperparameterError(f"{own}: what is built with these values does not fit into memory") from error


TOO_LARGE = (
    "can't allocate memory",
    "out of memory",
    "size calculation overflowed",
    "Overflow when unpacking",
    "Maximum allowed size",
)
"""Parts of PyTorch's and NumPy's messages for sizes beyond the memory."""


def _is_too_large(error: Exception) -> bool:
    return isinstance(error, (MemoryError, OverflowError)) or any(said in str(error) for said in TOO_LARGE)


def as_tuples(value: Any) -> Any:
    """Return a value, or a dictionary of values, with tuples in the place of lists, which YAML has instead."""
    if isinstance(value, dict):
        return {name: as_tuples(item) for name, item in value.items()}
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value
