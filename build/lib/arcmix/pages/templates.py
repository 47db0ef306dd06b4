"""HTML pages from the files in `templates/`, with all values escaped.

A page is a single file that contains its style and its script, so it fetches nothing. The files of
styles and scripts are not templates: pages include them unchanged.
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
    """Return a rendered template; equal values give equal texts.

    Args:
        name: File name of the template.
        values: Name in the template -> value.

    Raises:
        jinja2.UndefinedError: If a value is missing.
        ValueError: If a value cannot be written as JSON.
    """
    return _ENVIRONMENT.get_template(name).render(values)


def _source(name: str) -> str:
    """Return the content of a file in `templates/`, unchanged."""
    text, _, _ = _LOADER.get_source(_ENVIRONMENT, name)
    return text


_ENVIRONMENT.globals["source"] = _source
