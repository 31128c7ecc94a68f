"""What people are reached by, born on and travel with."""

import base64

from makers.basics import ALNUM, DIGITS, UPPER, birthday, chars, digits
from makers.identities import es_dni


GIVEN = ["ana", "jonas", "mei", "oluwaseun", "priya", "lukas", "sofia", "kenji", "fatima", "ivan", "zoe", "liam", "noor"]
FAMILY = ["tester", "muster", "sample", "novak", "example", "beispiel", "prueba", "doe", "fulano", "rossi", "tanaka"]
DOMAINS = ["example.com", "mail.example.org", "example.co.uk", "firma-beispiel.de", "testhost.io", "correo.example.es",
           "post.example.fr", "dept.university.edu", "example.com.br", "shop.example.jp", "mx.example.net", "labs.dev"]


def email(rng, way):
    given, family = rng.choice(GIVEN), rng.choice(FAMILY)
    local = rng.choice([f"{given}.{family}", f"{given[0]}{family}", f"{given}_{family}{rng.randint(1, 99)}", given,
                        f"{given}+{rng.choice(['news', 'spam', 'jobs'])}", f"{given}-{family}"])
    text = f"{local}@{rng.choice(DOMAINS)}"
    if way == "idn":
        text = f"{local}@{rng.choice(['bücher.example.de', 'münchen-test.de', 'почта-тест.рф', '例子.公司', 'café-test.fr'])}"
    if way == "unicode":
        text = rng.choice(["jürgen.müller", "josé.núñez", "иван.тестов", "søren"]) + f"@{rng.choice(DOMAINS)}"
    return text.upper() if way == "upper" else text


PHONES = [
    ("+1", "us", lambda r: f"{r.choice(['212', '415', '312', '617', '206'])} {r.randint(200, 999)} {digits(r, 4)}"),
    ("+44", "gb", lambda r: f"7{r.choice(['400', '911', '700', '812'])} {digits(r, 6)}"),
    ("+49", "de", lambda r: f"{r.choice(['151', '170', '160'])} {r.randint(20000000, 99999999)}"),
    ("+33", "fr", lambda r: f"6 {r.randint(10, 99)} {digits(r, 2)} {digits(r, 2)} {digits(r, 2)}"),
    ("+34", "es", lambda r: f"6{digits(r, 2)} {digits(r, 3)} {digits(r, 3)}"),
    ("+39", "it", lambda r: f"347 {r.randint(1000000, 9999999)}"),
    ("+48", "pl", lambda r: f"60{r.randint(1, 9)} {digits(r, 3)} {digits(r, 3)}"),
    ("+81", "jp", lambda r: f"90-{r.randint(1000, 9999)}-{digits(r, 4)}"),
    ("+82", "kr", lambda r: f"10-{r.randint(2000, 9999)}-{digits(r, 4)}"),
    ("+86", "cn", lambda r: f"13{r.randint(5, 9)} {digits(r, 4)} {digits(r, 4)}"),
    ("+91", "in", lambda r: f"98{digits(r, 3)} {digits(r, 5)}"),
    ("+55", "br", lambda r: f"11 9{r.randint(6000, 9999)}-{digits(r, 4)}"),
    ("+7", "ru", lambda r: f"916 {r.randint(200, 999)}-{digits(r, 2)}-{digits(r, 2)}"),
    ("+61", "au", lambda r: f"4{r.choice(['12', '01', '22'])} {digits(r, 3)} {digits(r, 3)}"),
    ("+90", "tr", lambda r: f"532 {r.randint(200, 999)} {digits(r, 2)} {digits(r, 2)}"),
]


NATIONAL = {
    "natde": lambda r: r.choice([f"030 23125{digits(r, 3)}", f"0151 {r.randint(20000000, 99999999)}", f"089/{digits(r, 2)}99998-{digits(r, 2)}"]),
    "natgb": lambda r: r.choice([f"020 7946 0{digits(r, 3)}", f"07700 900{digits(r, 3)}", f"0161 496 0{digits(r, 3)}"]),
    "natfr": lambda r: f"{r.choice(['01', '06', '04'])} {r.randint(40, 49)} {digits(r, 2)} {digits(r, 2)} {digits(r, 2)}",
    "nates": lambda r: f"{r.choice(['91', '93'])}{r.randint(1, 8)} {digits(r, 2)} {digits(r, 2)} {digits(r, 2)}",
    "natjp": lambda r: r.choice([f"03-{r.randint(3000, 6999)}-{digits(r, 4)}", f"090-{r.randint(1000, 9999)}-{digits(r, 4)}"]),
    "natbr": lambda r: f"(11) 9{r.randint(6000, 9999)}-{digits(r, 4)}",
    "natkr": lambda r: f"010-{r.randint(2000, 9999)}-{digits(r, 4)}",
    "natcn": lambda r: f"13{r.randint(5, 9)}{digits(r, 8)}",
    "zero": lambda r: r.choice([f"+49 (0)30 23125{digits(r, 3)}", f"+44 (0)20 7946 0{digits(r, 3)}"]),
}


def phone(rng, way):
    if way in NATIONAL:
        return NATIONAL[way](rng)
    code, _, rest = rng.choice(PHONES)
    if way == "us":
        area, line = rng.choice(["212", "415", "312", "617", "206"]), f"{rng.randint(200, 999)}-{digits(rng, 4)}"
        return rng.choice([f"({area}) {line}", f"{area}-{line}", f"+1 {area}-{line}", f"1-{area}-{line}", f"{area}.{line.replace('-', '.')}"])
    text = f"{code} {rest(rng)}"
    if way == "compact":
        return "".join(c for c in text if c.isdigit() or c == "+")
    return text.replace(" ", "-") if way == "dash" else text


DATES = {"iso": "{0:04d}-{1:02d}-{2:02d}", "de": "{2:02d}.{1:02d}.{0:04d}", "us": "{1:02d}/{2:02d}/{0:04d}",
         "gb": "{2:02d}/{1:02d}/{0:04d}", "cjk": "{0}年{1}月{2}日", "dots": "{0}.{1:02d}.{2:02d}", "dash": "{2:02d}-{1:02d}-{0:04d}"}
MONTHS = {"en": "January February March April May June July August September October November December".split(),
          "de_": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split(),
          "fr_": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
          "es_": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split()}


def date_of_birth(rng, way):
    year, month, day = birthday(rng)
    if way in ("en", "enus", "de_", "fr_", "es_"):
        name = MONTHS[way[:2] if way == "enus" else way][month - 1]
        return {"en": f"{day} {name} {year}", "enus": f"{name} {day}, {year}", "de_": f"{day}. {name} {year}",
                "fr_": f"{day} {name} {year}", "es_": f"{day} de {name} de {year}"}[way]
    return DATES[way or "iso"].format(year, month, day)


def passport(rng, way):
    return {"us": lambda: rng.choice(["", "A", "C"]) + digits(rng, 8 if rng.random() < 0.5 else 9)[-8:],
            "gb": lambda: rng.choice("123456789") + digits(rng, 8),
            "de": lambda: "C" + chars(rng, "CFGHJKLMNPRTVWXYZ" + DIGITS, 7) + rng.choice(DIGITS),
            "fr": lambda: f"{digits(rng, 2)}{rng.choice('ACDFHK')}{rng.choice('ATVXE')}{digits(rng, 5)}",
            "in": lambda: rng.choice("KLMNPRSTZ") + rng.choice("123456789") + digits(rng, 6),
            "cn": lambda: "E" + digits(rng, 8), "jp": lambda: "T" + rng.choice("RKZ") + digits(rng, 7),
            "kr": lambda: "M" + digits(rng, 8), "it": lambda: "YA" + digits(rng, 7),
            }[way or "gb"]()


def driving_licence(rng, way):
    return {"ca": lambda: rng.choice(UPPER) + digits(rng, 7), "fl": lambda: rng.choice(UPPER) + digits(rng, 12),
            "ny": lambda: digits(rng, 9), "gb": lambda: chars(rng, UPPER, 5) + f"{rng.randint(1, 9)}0{rng.randint(1, 9)}1{rng.randint(0, 9)}{rng.randint(0, 9)}AB{rng.randint(1, 9)}CD",
            "de": lambda: rng.choice("BCFJKN") + chars(rng, UPPER + DIGITS, 8) + rng.choice(DIGITS) + rng.choice("12"),
            "il": lambda: f"{rng.choice(UPPER)}{digits(rng, 3)}-{digits(rng, 4)}-{digits(rng, 4)}",
            "es": lambda: es_dni(rng, ""),
            }[way or "ca"]()


def bank_account(rng, way):
    return rng.choice("123456789") + digits(rng, rng.choice([7, 9, 11]))


def basic(rng, way):
    """A name and a password as RFC 7617 writes them in a header."""
    return base64.b64encode(f"{rng.choice(GIVEN)}:{chars(rng, ALNUM, rng.randint(12, 20))}".encode()).decode()
