"""Numbers that states and their services give to people and companies."""

from makers.basics import DIGITS, UPPER, birthday, chars, digits, groups, luhn_digit


# The United States.

def us_ssn(rng, way):
    while True:
        area = rng.choice([n for n in range(1, 900) if n != 666])
        number = f"{area:03d}{rng.randint(1, 99):02d}{rng.randint(1, 9999):04d}"
        if number not in ("078051120", "123456789", "219099999") and len(set(number)) > 2:
            return groups(number, (3, 2, 4), {"space": " ", "bare": "", "dot": "."}.get(way, "-"))


def us_itin(rng, way):
    middle = rng.choice([*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)])
    number = f"9{digits(rng, 2)}{middle:02d}{rng.randint(1, 9999):04d}"
    return groups(number, (3, 2, 4), {"space": " ", "bare": ""}.get(way, "-"))


def us_aba(rng, way):
    prefix = rng.choice([*range(1, 13), *range(21, 33)])
    body = f"{prefix:02d}{digits(rng, 6)}"
    total = sum(int(c) * w for c, w in zip(body, (3, 7, 1, 3, 7, 1, 3, 7)))
    return body + str(-total % 10)


# The United Kingdom.

def uk_nhs(rng, way):
    while True:
        body = rng.choice("4567") + digits(rng, 8)
        check = 11 - sum(int(c) * w for c, w in zip(body, range(10, 1, -1))) % 11
        if check != 10:
            number = body + str(check % 11)
            return groups(number, (3, 3, 4), {"bare": "", "dash": "-"}.get(way, " "))


def uk_nino(rng, way):
    while True:
        prefix = rng.choice("ABCEGHJKLMNOPRSTWXYZ") + rng.choice("ABCEGHJKLMNPRSTWXYZ")
        if prefix not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"):
            break
    number = prefix + digits(rng, 6) + rng.choice("ABCD")
    if way == "lower":
        number = number.lower()
    return groups(number, (2, 2, 2, 2, 1), {"bare": "", "lower": "", "dash": "-"}.get(way, " "))


# Canada, Australia.

def ca_sin(rng, way):
    body = rng.choice("12345679") + digits(rng, 7)
    return groups(body + luhn_digit(body), (3, 3, 3), {"bare": "", "dash": "-"}.get(way, " "))


def au_tfn(rng, way):
    while True:
        number = rng.choice("123456789") + digits(rng, 8)
        if sum(int(c) * w for c, w in zip(number, (1, 4, 3, 7, 5, 8, 6, 9, 10))) % 11 == 0:
            return groups(number, (3, 3, 3), {"bare": ""}.get(way, " "))


def au_abn(rng, way):
    while True:
        number = rng.choice("123456789") + digits(rng, 10)
        weighed = [int(number[0]) - 1] + [int(c) for c in number[1:]]
        if number[:2] > "10" and sum(d * w for d, w in zip(weighed, (10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19))) % 89 == 0:
            return groups(number, (2, 3, 3, 3), {"bare": ""}.get(way, " "))


def au_medicare(rng, way):
    body = rng.choice("23456") + digits(rng, 7)
    check = sum(int(c) * w for c, w in zip(body, (1, 3, 7, 9, 1, 3, 7, 9))) % 10
    return groups(f"{body}{check}{rng.randint(1, 5)}", (4, 5, 1), {"bare": ""}.get(way, " "))


# Europe.

def de_tax_id(rng, way):
    """Ten digits of which one comes twice, or thrice and not in a row, then the check digit of ISO 7064 mod 11,10."""
    while True:
        pool = rng.sample(DIGITS, rng.choice([8, 9]))
        body = pool + [rng.choice(pool)] * (10 - len(pool))
        rng.shuffle(body)
        if body[0] != "0" and not any(body[at] == body[at + 1] == body[at + 2] for at in range(8)):
            break
    product = 10
    for char in body:
        total = (int(char) + product) % 10 or 10
        product = total * 2 % 11
    number = "".join(body) + str((11 - product) % 10)
    return groups(number, (2, 3, 3, 3), {"bare": ""}.get(way, " "))


NIF_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def es_dni(rng, way):
    number = rng.randint(10_000_000, 79_999_999)
    letter = NIF_LETTERS[number % 23]
    return f"{number}{'-' if way == 'dash' else ''}{letter.lower() if way == 'lower' else letter}"


def es_nie(rng, way):
    first, number = rng.choice("XYZ"), digits(rng, 7)
    letter = NIF_LETTERS[int(str("XYZ".index(first)) + number) % 23]
    return groups(first + number + letter, (1, 7, 1), "-" if way == "dash" else "")


def fr_nir(rng, way):
    body = (f"{rng.choice('12')}{rng.randint(0, 99):02d}{rng.randint(1, 12):02d}{rng.randint(1, 95):02d}"
            f"{rng.randint(1, 899):03d}{rng.randint(1, 999):03d}")
    if body[5:7] == "20":
        body = body[:5] + "75" + body[7:]
    number = f"{body}{97 - int(body) % 97:02d}"
    return groups(number, (1, 2, 2, 2, 3, 3, 2), {"bare": ""}.get(way, " "))


def it_codice_fiscale(rng, way):
    consonants = "BCDFGLMNPRSTVZ"
    body = "".join(rng.choice(consonants) for _ in range(6))
    day = rng.randint(1, 28) + rng.choice((0, 40))
    body += f"{rng.randint(0, 99):02d}{rng.choice('ABCDEHLMPRST')}{day:02d}{rng.choice('ABCDEFGHIL')}{rng.randint(100, 999)}"
    odd = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]
    total = 0
    for place, char in enumerate(body):
        value = int(char) if char.isdigit() else ord(char) - 65
        total += odd[value] if place % 2 == 0 else value
    number = body + UPPER[total % 26]
    if way == "space":
        return groups(number, (3, 3, 5, 5), " ")
    return number.lower() if way == "lower" else number


def pl_pesel(rng, way):
    year, month, day = birthday(rng)
    body = f"{year % 100:02d}{month + (20 if year >= 2000 else 0):02d}{day:02d}{digits(rng, 4)}"
    total = sum(int(c) * w for c, w in zip(body, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)))
    return body + str(-total % 10)


def nl_bsn(rng, way):
    while True:
        number = rng.choice("12345678") + digits(rng, 8)
        if (sum(int(c) * w for c, w in zip(number[:8], range(9, 1, -1))) - int(number[8])) % 11 == 0:
            return groups(number, (4, 2, 3), {"dot": ".", "space": " "}.get(way, ""))


def se_personnummer(rng, way):
    year, month, day = birthday(rng)
    body = f"{year % 100:02d}{month:02d}{day:02d}{digits(rng, 3)}"
    number = body + luhn_digit(body)
    if way in ("long", "longbare"):
        number = f"{year // 100}{number}"
    return number if way in ("bare", "longbare") else f"{number[:-4]}-{number[-4:]}"


def fi_hetu(rng, way):
    year, month, day = birthday(rng)
    date, serial = f"{day:02d}{month:02d}{year % 100:02d}", f"{rng.randint(2, 899):03d}"
    check = "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(date + serial) % 31]
    return f"{date}{rng.choice('ABCDEF' if year >= 2000 else '---YXWVU')}{serial}{check}"


def ch_ahv(rng, way):
    body = "756" + digits(rng, 9)
    total = sum(int(c) * (3 if place % 2 else 1) for place, c in enumerate(body))
    return groups(body + str(-total % 10), (3, 4, 4, 2), {"bare": "", "space": " "}.get(way, "."))


def tr_tckn(rng, way):
    body = [int(c) for c in rng.choice("123456789") + digits(rng, 8)]
    tenth = (sum(body[0::2]) * 7 - sum(body[1::2])) % 10
    return "".join(map(str, body + [tenth, (sum(body) + tenth) % 10]))


# The rest of the world.

def mod11(body, weights):
    rest = sum(int(c) * w for c, w in zip(body, weights)) % 11
    return str(0 if rest < 2 else 11 - rest)


def br_cpf(rng, way):
    number = digits(rng, 9)
    number += mod11(number, range(10, 1, -1))
    number += mod11(number, range(11, 1, -1))
    return number if way == "bare" else f"{number[:3]}.{number[3:6]}.{number[6:9]}-{number[9:]}"


def br_cnpj(rng, way):
    number = digits(rng, 8) + "000" + rng.choice("123")
    number += mod11(number, (5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
    number += mod11(number, (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
    if way == "bare":
        return number
    return f"{number[:2]}.{number[2:5]}.{number[5:8]}/{number[8:12]}-{number[12:]}"


def dihedral(a, b):
    """The product of two elements of the dihedral group of order ten, which Verhoeff's scheme multiplies in."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


def verhoeff(body):
    step = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    check = 0
    for place, char in enumerate(reversed(body), start=1):
        digit = int(char)
        for _ in range(place % 8):
            digit = step[digit]
        check = dihedral(check, digit)
    return next(str(d) for d in range(10) if dihedral(check, d) == 0)


def in_aadhaar(rng, way):
    body = rng.choice("23456789") + digits(rng, 10)
    return groups(body + verhoeff(body), (4, 4, 4), {"bare": "", "dash": "-"}.get(way, " "))


def in_pan(rng, way):
    text = "".join(rng.choice(UPPER) for _ in range(3))
    return f"{text}P{rng.choice(UPPER)}{rng.randint(1, 9999):04d}{rng.choice(UPPER)}"


def sg_nric(rng, way):
    first, number = rng.choice("STFGSTFGM"), digits(rng, 7)
    shift, letters = {"S": (0, "JZIHGFEDCBA"), "T": (4, "JZIHGFEDCBA"), "F": (0, "XWUTRQPNMLK"), "G": (4, "XWUTRQPNMLK"),
                      "M": (3, "XWUTRQPNJLK")}[first]
    return f"{first}{number}{letters[(sum(int(c) * w for c, w in zip(number, (2, 7, 6, 5, 4, 3, 2))) + shift) % 11]}"


def za_id(rng, way):
    year, month, day = birthday(rng)
    body = f"{year % 100:02d}{month:02d}{day:02d}{digits(rng, 4)}{rng.choice('01')}8"
    number = body + luhn_digit(body)
    return groups(number, (6, 4, 2, 1), " ") if way == "space" else number


def kr_rrn(rng, way):
    year, month, day = birthday(rng)
    body = f"{year % 100:02d}{month:02d}{day:02d}{rng.choice('34' if year >= 2000 else '12')}{rng.randint(0, 95):02d}{digits(rng, 3)}"
    check = (11 - sum(int(c) * w for c, w in zip(body, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5))) % 11) % 10
    return groups(f"{body}{check}", (6, 7), "" if way == "bare" else "-")


CN_AREAS = ["110101", "310104", "440106", "510107", "330102", "420106", "610103", "320508", "500103", "350203"]


def cn_resident_id(rng, way):
    year, month, day = birthday(rng)
    body = f"{rng.choice(CN_AREAS)}{year}{month:02d}{day:02d}{digits(rng, 3)}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    check = "10X98765432"[sum(int(c) * w for c, w in zip(body, weights)) % 11]
    return body + (check.lower() if way == "lower" else check)
