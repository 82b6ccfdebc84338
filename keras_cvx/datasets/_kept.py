"""What is computed when first asked for, and kept."""


class kept:  # noqa: N801
    """Decorator: a method becomes an attribute, computed when first asked for.

    As `functools.cached_property` is from Python 3.12 on. Before, it lets in one thread at a time,
    for all objects of a class together: of several threads that decode images one did so.

    Args:
        function: The method.

    Example:
        >>> class Circle:
        ...     @kept
        ...     def radius(self):
        ...         print("measured")
        ...         return 2
        >>> circle = Circle()
        >>> circle.radius + circle.radius
        measured
        4
    """

    def __init__(self, function):
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, owner, kind=None):
        if owner is None:
            return self
        # From now on the object's own attribute is found before this one.
        value = owner.__dict__[self._name] = self._function(owner)
        return value
