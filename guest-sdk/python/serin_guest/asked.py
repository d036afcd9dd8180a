"""What a strategy's files ask for. The build writes the component's own in this one's place."""

DATES: bool = False
"""Whether a file names `datetime`."""
MODULES: tuple[str, ...] = ()
"""The modules that the author's functions import: loaded with the component, or they would be missing."""
