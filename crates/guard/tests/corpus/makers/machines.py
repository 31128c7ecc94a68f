"""Addresses of networks and secrets of programs."""

import base64
import json
import string

from makers.basics import ALNUM, DIGITS, HEX, UPPER, chars, digits, groups


# Networks.

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


# Secrets.

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
}


def api_key(rng, way):
    return API_KEYS[way or rng.choice(sorted(API_KEYS))](rng)


def slack_hook(rng, way):
    """What comes after the services of a Slack webhook."""
    return f"T{chars(rng, UPPER + DIGITS, 9)}/B{chars(rng, UPPER + DIGITS, 9)}/{chars(rng, ALNUM, 24)}"


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
