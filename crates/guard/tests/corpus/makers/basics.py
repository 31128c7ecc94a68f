"""Alphabets, random characters and groups of them."""

import string

DIGITS = string.digits
UPPER = string.ascii_uppercase
ALNUM = string.ascii_letters + string.digits
LOWALNUM = string.ascii_lowercase + string.digits
HEX = "0123456789abcdef"


def digits(rng, count):
    return "".join(rng.choice(DIGITS) for _ in range(count))


def chars(rng, alphabet, count):
    """Random characters that always hold a letter and a digit if the alphabet has both."""
    while True:
        text = "".join(rng.choice(alphabet) for _ in range(count))
        mixed = count < 8 or (any(c.isdigit() for c in text) and any(c.isalpha() for c in text))
        if mixed or not (set(alphabet) & set(DIGITS) and set(alphabet) - set(DIGITS)):
            return text


def groups(text, sizes, separator):
    out, at = [], 0
    for size in sizes:
        out.append(text[at:at + size])
        at += size
    if at < len(text):
        out.append(text[at:])
    return separator.join(out)


def luhn_digit(body):
    total = 0
    for place, char in enumerate(reversed(body)):
        digit = int(char)
        if place % 2 == 0:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return str(-total % 10)


def birthday(rng):
    return rng.randint(1940, 2004), rng.randint(1, 12), rng.randint(1, 28)
