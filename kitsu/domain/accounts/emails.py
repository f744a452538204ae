"""E-mail addresses: the one function that all of them pass."""

from email_validator import EmailNotValidError, validate_email

MAX_LENGTH = 255


def normalised(email: str) -> str:
    """The address in the one spelling that is stored. Raises ValueError with the reason when it is none."""
    try:
        checked = validate_email(email.strip(), check_deliverability=False)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None
    address = checked.normalized.lower()
    if len(address) > MAX_LENGTH:
        raise ValueError(f"The address has more than {MAX_LENGTH} characters.")
    return address
