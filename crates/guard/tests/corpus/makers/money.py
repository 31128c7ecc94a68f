"""Payment cards, accounts, wallets."""

import hashlib

from makers.basics import DIGITS, UPPER, digits, groups, luhn_digit


# Payment cards: ISO/IEC 7812, check digit by Luhn.

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


# IBAN: ISO 13616, mod 97.

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


# Crypto currencies.

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
