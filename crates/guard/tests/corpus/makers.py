"""Makes values of every kind that the corpus labels, from the public definition of each number.

Nothing here is anybody's: digits are drawn by a seeded generator and only their check digits are computed. Each maker
takes the generator and the name of a way to write the value, and gives the value as text.
"""

import base64
import hashlib
import json
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


# --- payment cards: ISO/IEC 7812, check digit by Luhn -----------------------------------------------------------------

def luhn_digit(body):
    total = 0
    for place, char in enumerate(reversed(body)):
        digit = int(char)
        if place % 2 == 0:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return str(-total % 10)


CARDS = [("4", 16), ("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("2720", 16), ("34", 15), ("37", 15), ("6011", 16),
         ("65", 16), ("3528", 16), ("3589", 16), ("36", 14), ("38", 14), ("2200", 16), ("2204", 16), ("622126", 16),
         ("5018", 16), ("4", 16), ("53", 16)]


def payment_card(rng, way):
    prefix, length = rng.choice([card for card in CARDS if card[1] == 16] if way == "sixteen" else CARDS)
    body = prefix + digits(rng, length - 1 - len(prefix))
    number = body + luhn_digit(body)
    if way == "sixteen":
        way = rng.choice(["space", "dash"])
    sizes = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4)}[length]
    return groups(number, sizes, {"space": " ", "dash": "-", "nbsp": "\u00a0"}.get(way, ""))


# --- IBAN: ISO 13616, mod 97 ------------------------------------------------------------------------------------------

IBANS = {"DE": "18n", "GB": "4a14n", "FR": "10n11c2n", "ES": "20n", "IT": "1a10n12c", "NL": "4a10n", "BE": "12n",
         "AT": "16n", "CH": "5n12c", "PL": "24n", "SE": "20n", "DK": "14n", "FI": "14n", "PT": "21n",
         "IE": "4a14n", "CZ": "20n", "GR": "7n16c", "TR": "5n1z16c", "SA": "2n18c", "AE": "19n", "LU": "3n13c",
         "HU": "24n", "RO": "4a16c", "LT": "16n", "LV": "4a13c", "EE": "16n", "BR": "23n1a1c", "UA": "6n19c", "IL": "19n"}


def mod11_es(body):
    rest = 11 - sum(int(c) * w for c, w in zip(body, (1, 2, 4, 8, 5, 10, 9, 7, 3, 6))) % 11
    return str({10: 1, 11: 0}.get(rest, rest))


def iban_of(rng, country):
    body, count = "", ""
    for char in IBANS[country]:
        if char.isdigit():
            count += char
            continue
        alphabet = {"n": DIGITS, "a": UPPER, "c": UPPER + DIGITS, "z": "0"}[char]
        if char == "c" and rng.random() < 0.6:
            alphabet = DIGITS
        body += "".join(rng.choice(alphabet) for _ in range(int(count)))
        count = ""
    if country == "BE":
        body = f"{body[:10]}{int(body[:10]) % 97 or 97:02d}"
    if country == "ES":
        body = body[:8] + mod11_es("00" + body[:8]) + mod11_es(body[10:]) + body[10:]
    number = "".join(str(int(char, 36)) for char in body + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{body}"


def iban(rng, way):
    country = way[:2] if way[:2].isupper() and way[:2] in IBANS else rng.choice(sorted(IBANS))
    number = iban_of(rng, country)
    way = way.removeprefix(country)
    if way == "lower":
        return number.lower()
    separator = {"space": " ", "dash": "-", "nbsp": "\u00a0"}.get(way, "")
    return groups(number, [4] * (len(number) // 4), separator).strip()


# --- the United States ------------------------------------------------------------------------------------------------

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


# --- the United Kingdom -----------------------------------------------------------------------------------------------

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


# --- Canada, Australia ------------------------------------------------------------------------------------------------

def ca_sin(rng, way):
    body = rng.choice("1234567") + digits(rng, 7)
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


# --- Europe -----------------------------------------------------------------------------------------------------------

def de_tax_id(rng, way):
    """Ten digits of which one comes twice (and so one is missing), then the check digit of ISO 7064 mod 11,10."""
    while True:
        pool = rng.sample(DIGITS, 9)
        body = pool + [rng.choice(pool)]
        rng.shuffle(body)
        if body[0] != "0":
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


def birthday(rng):
    return rng.randint(1940, 2004), rng.randint(1, 12), rng.randint(1, 28)


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
    return f"{date}{'A' if year >= 2000 else '-'}{serial}{check}"


def ch_ahv(rng, way):
    body = "756" + digits(rng, 9)
    total = sum(int(c) * (3 if place % 2 else 1) for place, c in enumerate(body))
    return groups(body + str(-total % 10), (3, 4, 4, 2), {"bare": "", "space": " "}.get(way, "."))


def tr_tckn(rng, way):
    body = [int(c) for c in rng.choice("123456789") + digits(rng, 8)]
    tenth = (sum(body[0::2]) * 7 - sum(body[1::2])) % 10
    return "".join(map(str, body + [tenth, (sum(body) + tenth) % 10]))


# --- the rest of the world --------------------------------------------------------------------------------------------

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
    first, number = rng.choice("STFG"), digits(rng, 7)
    total = sum(int(c) * w for c, w in zip(number, (2, 7, 6, 5, 4, 3, 2))) + (4 if first in "TG" else 0)
    letter = ("JZIHGFEDCBA" if first in "ST" else "XWUTRQPNMLK")[total % 11]
    return f"{first}{number}{letter}"


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


# --- networks ---------------------------------------------------------------------------------------------------------

def ipv4(rng, way):
    if way == "private":
        return rng.choice([f"10.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}",
                           f"192.168.{rng.randint(0, 255)}.{rng.randint(1, 254)}",
                           f"172.{rng.randint(16, 31)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"])
    first = rng.choice([n for n in range(11, 223) if n not in (100, 127, 169, 172, 192, 198, 203)])
    return f"{first}.{rng.randint(16, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"


def ipv6(rng, way):
    parts = [f"2{rng.choice('0468ac')}{rng.randint(1, 255):02x}"] + [f"{rng.randint(0x100, 0xffff):x}" for _ in range(7)]
    if way == "full":
        return ":".join(parts)
    if way == "link":
        return "fe80::" + ":".join(parts[1:5])
    if way == "upper":
        return ":".join(parts).upper()
    return ":".join(parts[:rng.randint(2, 5)]) + "::" + ":".join(parts[6:6 + rng.randint(1, 2)])


def mac_address(rng, way):
    octets = [f"{rng.choice([2, 4, 8, 0x1c, 0x3a, 0x5e, 0x9c, 0xd4]):02x}"] + [f"{rng.randint(0, 255):02x}" for _ in range(5)]
    text = "".join(octets)
    if way == "dot":
        return groups(text, (4, 4, 4), ".")
    text = groups(text, [2] * 6, "-" if way == "dash" else ":")
    return text.upper() if way in ("upper", "dash") else text


# --- crypto currencies ------------------------------------------------------------------------------------------------

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58check(payload):
    payload += hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(payload, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        text = BASE58[rest] + text
    return "1" * (len(payload) - len(payload.lstrip(b"\0"))) + text


def bech32(prefix, version, program):
    """A segwit address of BIP 173, or of BIP 350 from version 1 on."""
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    bits = "".join(f"{byte:08b}" for byte in program)
    bits += "0" * (-len(bits) % 5)
    words = [version] + [int(bits[at:at + 5], 2) for at in range(0, len(bits), 5)]
    state = 1
    spread = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    for value in spread + words + [0] * 6:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            state ^= generator if top >> place & 1 else 0
    state ^= 0x2BC830A3 if version else 1
    words += [state >> 5 * (5 - place) & 31 for place in range(6)]
    return f"{prefix}1{''.join(alphabet[word] for word in words)}"


def keccak256(message):
    """Keccak with 256 bits of output and the padding from before SHA-3, as Ethereum's EIP-55 wants it."""
    mask, rate = (1 << 64) - 1, 136
    message = bytearray(message + b"\x01")
    message += bytes(-len(message) % rate)
    message[-1] |= 0x80
    lanes = [0] * 25
    for start in range(0, len(message), rate):
        for lane in range(rate // 8):
            lanes[lane] ^= int.from_bytes(message[start + 8 * lane:start + 8 * lane + 8], "little")
        shift = 1
        for _ in range(24):
            column = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
            for x in range(5):
                right = column[(x + 1) % 5]
                mix = column[(x + 4) % 5] ^ (right << 1 | right >> 63) & mask
                for y in range(0, 25, 5):
                    lanes[x + y] ^= mix
            x, y, current = 1, 0, lanes[1]
            for step in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                turn = (step + 1) * (step + 2) // 2 % 64
                current, lanes[x + 5 * y] = lanes[x + 5 * y], (current << turn | current >> (64 - turn)) & mask
            for y in range(0, 25, 5):
                row = lanes[y:y + 5]
                for x in range(5):
                    lanes[x + y] = row[x] ^ ~row[(x + 1) % 5] & mask & row[(x + 2) % 5]
            for bit in range(7):
                shift = shift << 1 ^ (shift >> 7) * 0x171
                if shift & 2:
                    lanes[0] ^= 1 << (1 << bit) - 1
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def crypto_address(rng, way):
    raw = rng.randbytes(20)
    way = way or rng.choice(["p2pkh", "p2sh", "bech32", "taproot", "eth", "eth"])
    if way == "p2pkh":
        return base58check(b"\0" + raw)
    if way == "p2sh":
        return base58check(b"\5" + raw)
    if way == "ltc":
        return base58check(b"\x30" + raw)
    if way == "tron":
        return base58check(b"\x41" + raw)
    if way == "bech32":
        return bech32("bc", 0, raw)
    if way == "taproot":
        return bech32("bc", 1, rng.randbytes(32))
    address = raw.hex()
    if way == "ethlower":
        return "0x" + address
    marks = keccak256(address.encode()).hex()
    return "0x" + "".join(c.upper() if int(m, 16) > 7 else c for c, m in zip(address, marks))


# --- secrets ----------------------------------------------------------------------------------------------------------

def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(rng, way):
    header = {"alg": rng.choice(["HS256", "RS256", "ES256", "HS512"]), "typ": "JWT"}
    if rng.random() < 0.4:
        header["kid"] = chars(rng, ALNUM, 12)
    claims = {"sub": digits(rng, 10), "iat": rng.randint(1_600_000_000, 1_800_000_000), "role": rng.choice(["a", "user", "svc"])}
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    return ".".join([b64url(parts[0]), b64url(parts[1]), b64url(rng.randbytes(32))])


PEM_NAMES = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY",
             "DSA PRIVATE KEY"]


def private_key(rng, way):
    line_end = "\\n" if way == "escaped" else "\n"
    name = "PGP PRIVATE KEY BLOCK" if way == "pgp" else rng.choice(PEM_NAMES)
    body = base64.b64encode(rng.randbytes(rng.choice([118, 190, 300]))).decode()
    lines = [body[at:at + 64] for at in range(0, len(body), 64)]
    if way == "pgp":
        lines = ["", *lines, "=" + chars(rng, ALNUM, 4)]
    if way == "cut":
        return line_end.join([f"-----BEGIN {name}-----", *lines])
    return line_end.join([f"-----BEGIN {name}-----", *lines, f"-----END {name}-----"])


API_KEYS = {
    "openai": lambda r: f"sk-{chars(r, ALNUM, 20)}T3BlbkFJ{chars(r, ALNUM, 20)}",
    "openai_project": lambda r: f"sk-proj-{chars(r, ALNUM + '_-', 74)}T3BlbkFJ{chars(r, ALNUM + '_-', 73)}A",
    "anthropic": lambda r: f"sk-ant-api03-{chars(r, ALNUM + '_-', 93)}AA",
    "google": lambda r: f"AIzaSy{chars(r, ALNUM + '_', 32)}{chars(r, ALNUM, 1)}",
    "github": lambda r: f"gh{r.choice('pousr')}_{chars(r, ALNUM, 36)}",
    "github_fine": lambda r: f"github_pat_{chars(r, ALNUM, 22)}_{chars(r, ALNUM, 59)}",
    "gitlab": lambda r: f"glpat-{chars(r, ALNUM + '_', 19)}{chars(r, ALNUM, 1)}",
    "slack": lambda r: f"xox{r.choice('bp')}-{digits(r, 12)}-{digits(r, 12)}-{chars(r, ALNUM, 24)}",
    "stripe": lambda r: f"{r.choice(['sk', 'rk'])}_live_{chars(r, ALNUM, 24)}",
    "aws": lambda r: f"{r.choice(['AKIA', 'ASIA'])}{chars(r, UPPER + '234567', 16)}",
    "huggingface": lambda r: f"hf_{chars(r, string.ascii_letters, 34)}",
    "npm": lambda r: f"npm_{chars(r, ALNUM, 36)}",
    "pypi": lambda r: f"pypi-AgEIcHlwaS5vcmc{chars(r, ALNUM + '_-', 150)}A",
    "sendgrid": lambda r: f"SG.{chars(r, ALNUM + '_-', 21)}x.{chars(r, ALNUM + '_-', 42)}y",
    "xai": lambda r: f"xai-{chars(r, ALNUM, 80)}",
    "groq": lambda r: f"gsk_{chars(r, ALNUM, 52)}",
    "replicate": lambda r: f"r8_{chars(r, ALNUM, 37)}",
    "digitalocean": lambda r: f"dop_v1_{chars(r, HEX, 64)}",
    "databricks": lambda r: f"dapi{chars(r, HEX, 32)}",
    "shopify": lambda r: f"shpat_{chars(r, HEX, 32)}",
    "vault": lambda r: f"hvs.{chars(r, ALNUM + '_-', 94)}z",
    "linear": lambda r: f"lin_api_{chars(r, ALNUM, 40)}",
    "postman": lambda r: f"PMAK-{chars(r, HEX, 24)}-{chars(r, HEX, 34)}",
    "newrelic": lambda r: f"NRAK-{chars(r, UPPER + DIGITS, 27)}",
    "grafana": lambda r: f"glsa_{chars(r, ALNUM, 32)}_{chars(r, HEX, 8)}",
    "doppler": lambda r: f"dp.pt.{chars(r, ALNUM, 43)}",
    "telegram": lambda r: f"{r.choice('123456789')}{digits(r, 9)}:AA{chars(r, ALNUM + '_-', 32)}x",
    "notion": lambda r: f"ntn_{digits(r, 11)}{chars(r, ALNUM, 35)}",
    "terraform": lambda r: f"{chars(r, ALNUM, 14)}.atlasv1.{chars(r, ALNUM + '_-', 66)}z",
    "square": lambda r: f"EAAA{chars(r, ALNUM + '_-', 59)}z",
    "twilio": lambda r: f"SK{chars(r, HEX, 32)}",
    "mailgun": lambda r: f"key-{chars(r, HEX, 32)}",
    "slack_hook": lambda r: f"https://hooks.slack.com/services/T{chars(r, UPPER + DIGITS, 9)}/B{chars(r, UPPER + DIGITS, 9)}/{chars(r, ALNUM, 24)}",
}


def api_key(rng, way):
    return API_KEYS[way or rng.choice(sorted(API_KEYS.keys() - {"slack_hook"}))](rng)


def random_secret(rng, way):
    """Characters as a service would draw them, without a prefix that says whose they are."""
    if way == "hex":
        return chars(rng, HEX, rng.choice([32, 40, 64]))
    if way == "aws":
        return chars(rng, ALNUM + "/+", 39) + "k"
    if way == "azure":
        return base64.b64encode(rng.randbytes(64)).decode()
    return chars(rng, ALNUM, rng.choice([24, 32, 40, 48]))


PASSWORDS = ["Tr0ub4dor&3", "correct-horse-42", "hunter2!", "S3cr3t!Pass", "Winter2024#", "xK9$mP2vQ", "pa55w0rd!23",
             "Blaue7Banane", "M0nkey$Shine", "qW3rTy!ui", "Zx8!kLm0", "letM3in-now", "gr33nT3a%", "N0rdsee_17",
             "kaffee&Kuchen9", "9vT#hh21x", "Sommer!2023", "p@ssDbA77", "r00tMe.not", "Vx2$yy81Q"]


def password(rng, way):
    if way == "plain":
        return "".join(c for c in rng.choice(PASSWORDS) if c.isalnum()) + digits(rng, 2)
    return rng.choice(PASSWORDS)


# --- people -----------------------------------------------------------------------------------------------------------

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


def phone(rng, way):
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
