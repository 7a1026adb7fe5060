"""Finds the base classes that define the behaviour of a class, as opposed to the values of its hyperparameters.

A class that defines or overrides a method or a constant is a different system from its parent; one that only sets
hyperparameters is the same system with other values. Inheritance combines systems:

    class Both(WithoutMPD, WithCQT): ...

sets nothing itself, and is neither `WithoutMPD` nor `WithCQT`.
"""

import copyreg
import functools
import hashlib
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from framework.aliases import first_name, members_of, with_first_names
from framework.errors import InvalidTypeError

LIBRARIES = ("builtins", "abc", "typing", "torch", "lightning", "pytorch_lightning", "lightning_fabric")
"""Packages whose base classes every system has; what they define does not tell two systems apart."""
MECHANISM = ("framework.hyperparameters", "framework.lightning", "framework.data_module", "framework.synthesizer")
"""Modules of the base classes that every system has in the project itself."""
GENERATED = ("hyperparameters", "_own_hyperparameters", "_abc_impl", "__init__", "__annotate__", "__annotate_func__")
"""Attributes that are written into a class when it is created."""
DESCRIPTORS = (types.FunctionType, classmethod, staticmethod, property, functools.cached_property)


def is_method(value: Any) -> bool:
    """Return whether a class attribute is a method or a property."""
    return isinstance(value, DESCRIPTORS)


def behaviour(cls: type) -> dict[str, Any]:
    """Return the methods and constants that a class itself defines, without hyperparameters and documentation.

    Constants named in `cls.not_in_identity` are left out: they describe how a result is measured.
    """
    constants = getattr(cls, "not_in_identity", ())
    apart = {*GENERATED, "not_in_identity", *constants, *members_of(cls), *vars(cls).get("_own_hyperparameters", ())}
    return {
        name: value
        for name, value in vars(cls).items()
        if name not in apart and (not name.startswith("__") or is_method(value))
    }


def definers(cls: type) -> list[type]:
    """Return the classes of the ancestry that define or override methods or constants, in method-resolution order."""
    return [base for base in cls.__mro__ if not is_library(base) and behaviour(base)]


def structure(cls: type) -> tuple[type, ...]:
    """Return the classes that determine together what a class does, whatever its values.

    These are the definers that no other definer inherits from: one for a plain chain of subclasses, several where
    overrides are combined. Where the order of methods does not follow from them (a class without methods of its own
    has arranged their common ancestors differently), all definers are returned.
    """
    found = definers(cls)
    heads = [one for one in found if not any(other is not one and issubclass(other, one) for other in found)]
    implied = [base for base in linearised([*(head.__mro__ for head in heads), heads]) if base in found]
    return tuple(heads if implied == found else found)


def linearised(orders: Sequence[Sequence[type]]) -> list[type]:
    """Merge method-resolution orders as Python does for a class with several bases (C3)."""
    left, merged = [list(order) for order in orders], []
    while left := [order for order in left if order]:
        first = next(order[0] for order in left if not any(order[0] in other[1:] for other in left))
        merged.append(first)
        left = [[one for one in order if one is not first] for order in left]
    return merged


def path_of(cls: type) -> str:
    """Return a name that identifies the code of this class.

    That is `module:Class` where this name leads to the class. A class that was made by a function, or whose name was
    taken by a later one, also has a hash of its methods and constants in its name.
    """
    path = f"{first_name(cls.__module__)}:{cls.__qualname__}"
    return path if is_importable(cls) else f"{path}#{_digest(cls)}"


def is_importable(cls: type) -> bool:
    """Return whether a class can be imported by its module and name."""
    try:
        return functools.reduce(getattr, cls.__qualname__.split("."), sys.modules[cls.__module__]) is cls  # type: ignore[comparison-overlap]
    except (AttributeError, KeyError):
        return False


def is_library(cls: type) -> bool:
    """Return whether a class is a base class that every system has, of a library or of the project itself."""
    return cls.__module__ in MECHANISM or cls.__module__.partition(".")[0] in LIBRARIES


def _digest(cls: type) -> str:
    members = with_first_names(cls, behaviour(cls))
    try:
        text = "\n".join(f"{name} {' '.join(_described(value))}" for name, value in sorted(members.items()))
    except TypeError as error:
        raise InvalidTypeError(
            f"{cls.__module__}:{cls.__qualname__} cannot be told from other classes of this name, as a method or a "
            f"constant of it holds what cannot be stored ({error}): define the class at the top of a module"
        ) from None
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _described(value: Any, seen: tuple[int, ...] = ()) -> Iterator[str]:
    """Yield what a method does or a constant is, as text that is the same in every process.

    Raises:
        TypeError: a value cannot be described, such as a lock.
    """
    if isinstance(value, type):
        yield f"{first_name(value.__module__)}:{value.__qualname__}"
    elif value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        yield repr(value)
    else:
        yield type(value).__name__
        if id(value) not in seen:
            for part in _parts(value, (*seen, id(value))):
                yield from _described(part, (*seen, id(value)))


def _parts(value: Any, seen: tuple[int, ...]) -> Sequence[Any]:
    """Return the values that a value consists of; those of an object are what pickle would store."""
    if isinstance(value, (classmethod, staticmethod)):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    if isinstance(value, functools.cached_property):
        return [value.func]
    if isinstance(value, (functools.partial, functools.partialmethod)):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.FunctionType):
        return [value.__code__, value.__defaults__, value.__kwdefaults__, [*map(_content, value.__closure__ or ())]]
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_names, value.co_consts]
    if isinstance(value, types.ModuleType):
        return [first_name(value.__name__)]
    if isinstance(value, Mapping):
        return [*value, *value.values()]
    if isinstance(value, (set, frozenset)):
        return sorted(" ".join(_described(item, seen)) for item in value)
    if isinstance(value, (list, tuple)):
        return value
    return _content_of_tensor(value) if _is_tensor(value) else _stored(value)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # The variable has no value yet.
        return None


def _is_tensor(value: Any) -> bool:
    # Torch takes seconds to import; without it there is no tensor.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _content_of_tensor(value: Any) -> Sequence[Any]:
    samples = value.detach().cpu().contiguous().reshape(-1)
    content = samples.view(sys.modules["torch"].uint8).numpy().tobytes()
    return [str(value.dtype), tuple(value.shape), hashlib.sha256(content).hexdigest()]


def _stored(value: Any) -> Sequence[Any]:
    own = copyreg.dispatch_table.get(type(value))
    reduced = own(value) if own else value.__reduce_ex__(2)
    if isinstance(reduced, str):
        return [reduced]
    function, arguments, *more = reduced
    state, items, pairs = [*more, None, None, None][:3]
    name = f"{function.__module__}:{getattr(function, '__qualname__', type(function).__qualname__)}"
    return [name, arguments, state, list(items or ()), list(pairs or ())]
