"""Credentials in texts, which no error, log or file may show."""

import os
import re

HIDDEN = "***"
"""What replaces a credential."""

SECRET = re.compile(r"(?:^|_)(?:KEY|PASSWORD|SECRET|TOKEN)$")
"""End of the name of an environment variable with a secret, such as `HF_TOKEN`."""

SHORTEST = 8
"""Minimum number of characters of a secret variable; a shorter value may be part of a word."""

PATTERNS = (
    # A user, a password or a token before the host: //user:password@host, //token@host.
    (re.compile(r"//\S*@"), f"//{HIDDEN}@"),
    # The same without a scheme, as in some messages of libraries.
    (re.compile(r"[^\s/:'\"]+:[^\s/]+@"), f"{HIDDEN}@"),
    # A query, which may be a token or a signature.
    (re.compile(r"(//[^\s?]*)\?\S+"), rf"\1?{HIDDEN}"),
)
"""Patterns of credentials in an address -> what replaces them. Rather too much is hidden than too
little: an address may have been misspelled."""


def redacted(text: str) -> str:
    """Return a text without the credentials in addresses and in the environment."""
    secrets = [value for name, value in os.environ.items() if SECRET.search(name.upper())]
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    for pattern, hidden in PATTERNS:
        text = pattern.sub(hidden, text)
    return text
