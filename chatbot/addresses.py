"""Addresses of databases and servers without the passwords in them."""

import re

_PASSWORD = re.compile(r"(://[^:/@]*:).*(?=@)")
_IN_QUERY = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def without_password(url: str) -> str:
    """The address with asterisks for each password, even where it is no proper address."""
    return _IN_QUERY.sub(r"\1***", _PASSWORD.sub(r"\1***", url))
