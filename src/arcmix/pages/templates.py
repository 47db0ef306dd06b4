"""HTML from the files in `templates/`, in which every value is escaped.

A page is one file: the templates write the style and the script into it, so it fetches nothing.
Style and script are no templates: they get into a page as they are.
"""

from jinja2 import Environment, PackageLoader, StrictUndefined

_LOADER = PackageLoader("arcmix.pages")
_ENVIRONMENT = Environment(
    loader=_LOADER,
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}


def render(name: str, **values: object) -> str:
    """Return a template filled with values; equal values make equal texts.

    Args:
        name: The template's file name.
        values: The values by the names that the template uses; each name must be given.
    """
    return _ENVIRONMENT.get_template(name).render(values)


def _source(name: str) -> str:
    """Return a file of the folder as it is."""
    text, _, _ = _LOADER.get_source(_ENVIRONMENT, name)
    return text


_ENVIRONMENT.globals["source"] = _source
