"""Components that a config chooses: the package's own by name, anyone's by `package.module:Class`."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from seqboat_lab.config.checks import ConfigError, choose, show


class Components(Mapping[str, type]):
    """One kind of component: name -> the dataclass of its settings. The first name is the default.

    Args:
        what: the kind, as errors call it.
        known: name -> (settings, `package.module:Class` of what they make). A path instead of the settings keeps
            loading a config from importing torch.

    A class from outside is named by its path and has its settings in the attribute `Config`.
    """

    def __init__(self, what: str, known: Mapping[str, tuple[type, str]]):
        self.what, self.known = what, known

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.known or ":" in name)

    def __getitem__(self, name: str) -> type:
        return self.settings(self.what, name)

    def settings(self, key: str, name: object) -> type:
        """The dataclass of a component's settings. Raises `ConfigError` about `key` if there is no such component."""
        if not (isinstance(name, str) and ":" in name):
            try:
                return self.known[choose(key, name, self.known, self.what)][0]
            except ConfigError as error:
                raise ConfigError(key, f"{error.problem}, or package.module:Class of your own") from None
        found = getattr(load(key, name), "Config", None)
        if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
            raise ConfigError(key, f"{show(name)} has no settings; expected an attribute Config, a frozen dataclass")
        return found

    def implementation(self, name: str) -> type[Any]:
        """The class that the settings are for, imported when it is first asked for."""
        return load(self.what, name if ":" in name else self.known[name][1])

    @property
    def implementations(self) -> Mapping[str, type[Any]]:
        """Name -> implementation."""
        return _Implementations(self)


class _Implementations(Mapping[str, type[Any]]):
    def __init__(self, components: Components):
        self.components = components

    def __iter__(self) -> Iterator[str]:
        return iter(self.components)

    def __len__(self) -> int:
        return len(self.components)

    def __getitem__(self, name: str) -> type[Any]:
        return self.components.implementation(name)


def load(key: str, path: str) -> type[Any]:
    """The class at `package.module:Class`, searched from the working directory as well.

    Raises `ConfigError` about `key`: no such module, none such in it, or a module that fails.
    """
    module, _, name = path.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        problem = (
            f"{show(path)}: no module {show(error.name)}; expected package.module:Class, installed or in this folder"
        )
        raise ConfigError(key, problem) from None
    except AttributeError as error:
        if getattr(error, "obj", None) is not sys.modules.get(module):
            raise
        known = [
            n for n, value in vars(sys.modules[module]).items() if isinstance(value, type) and hasattr(value, "Config")
        ]
        return choose(key, name, known, f"class of {module}")  # type: ignore[return-value]  # raises, and names the nearest
    except Exception as error:  # whatever a module of the user's does when it is imported
        raise ConfigError(key, f"{show(path)} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(found, type):
        raise ConfigError(key, f"{show(path)} is no class; expected package.module:Class")
    return found
