"""Writes the labelled corpus: the sentences of `texts/`, with the values of `makers` put in.

Run it in this directory: `python3 generate.py`. The seed is fixed, so the same sentences come out.

`texts/clean.txt` and `texts/near_miss.txt` hold sentences in which nothing is to be found, under headings of a language
and a kind of text. The other files hold sentences with places for values, under headings of what they are about:

    {{maker/way,way}}        a value, labelled by the maker's name; one of the ways is drawn
    {{maker/way+change}}     the same, with its characters changed (full width, zero-width characters, base64, ...)
    {{maker/*}}              one sentence for every way there is
    {{~as:label:maker/way}}  a value under another label; `a|b` takes either
    {{~name}} {{~n}} {{~stamp}} {{~date}}   fillings that nothing is to be found in
    [[label:words]]          words that are labelled as they stand

A line break within a sentence is written as the character that the return key shows.
"""

import base64
import json
import pathlib
import random
import re

import makers

HERE = pathlib.Path(__file__).parent
LABELS = {"us_aba": "us_bank_routing"}
SENTENCES_EACH = {"payment_card": 80, "iban": 80, "email": 70, "api_key_each": 1, "evasion": 60}
SENTENCES_MIN = 44
SECRETS = {"api_key", "generic_secret", "jwt", "private_key"}
PLACE = re.compile(r"\{\{(.+?)\}\}|\[\[([\w|]+):((?:\[INST\]|.)+?)\]\]")
NAMES = ["Ana", "Jonas", "Mei", "Priya", "Lukas", "Sofia", "Kenji", "Fatima", "Ivan", "Zoe", "Liam", "Noor", "Amara"]


def shifted(first):
    return {ord("0") + digit: first + digit for digit in range(10)}


def spread(mark):
    return lambda text: text[:3] + mark + text[3:6] + mark + text[6:]


CHANGES = {
    "fullwidth": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "zerowidth": spread("\u200b"),
    "softhyphen": spread("\u00ad"),
    "arabic": lambda text: text.translate(shifted(0x0660)),
    "devanagari": lambda text: text.translate(shifted(0x0966)),
    "math": lambda text: text.translate(shifted(0x1D7CE)),
    "base64": lambda text: base64.b64encode(f"this is what they sent: {text} and no more".encode()).decode(),
}


def stamp(rng):
    return (f"202{rng.randint(1, 5)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}T{rng.randint(0, 23):02d}:"
            f"{rng.randint(0, 59):02d}:{rng.randint(0, 59):02d}.{rng.randint(0, 999):03d}Z")


def filling(rng, name):
    return {"~name": lambda: rng.choice(NAMES), "~n": lambda: str(rng.randint(2, 999)), "~stamp": lambda: stamp(rng),
            "~date": lambda: stamp(rng)[:10]}[name]()


def value(rng, place, star):
    """The label and the text of one place."""
    label = None
    if place.startswith("~as:"):
        _, label, place = place.split(":", 2)
    name, _, ways = place.partition("/")
    ways, _, change = ways.partition("+")
    way = star if ways == "*" else rng.choice(ways.split(","))
    text = getattr(makers, name)(rng, way)
    if change:
        text = CHANGES[change](text)
    return label or LABELS.get(name, name), text


def filled(rng, template, star=None):
    found = []

    def put(place):
        if place[2]:
            found.append([place[2], place[3]])
            return place[3]
        if place[1].startswith("~") and not place[1].startswith("~as:"):
            return filling(rng, place[1])
        found.append(list(value(rng, place[1], star)))
        return found[-1][1]

    return PLACE.sub(put, template.replace("⏎", "\n")), found


def sections(path):
    """The headings of a file of texts, each with its lines."""
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("## ") and "⏎" not in line:
            out.append((line[3:], []))
        elif line.strip():
            out[-1][1].append(line)
    return out


def with_values(path):
    for heading, lines in sections(path):
        rng = random.Random(f"{path.stem} {heading}")
        wanted = SENTENCES_EACH.get(heading, SENTENCES_MIN)
        for line in lines:
            head, template = line.split(" | ", 1)
            lang, where = head.split()
            fixed = "{{" not in re.sub(r"\{\{~(name|n|stamp|date)\}\}", "", template)
            times = 1 if fixed else -(-wanted // len(lines))
            stars = sorted(makers.API_KEYS) if "/*" in template else [None] * times
            for star in stars:
                text, found = filled(rng, template, star)
                yield {"text": text, "found": found, "lang": lang, "where": where, "kind": "entity"}


def without_values(path, kind):
    for heading, lines in sections(path):
        lang, where = heading.split()
        for line in lines:
            yield {"text": line.replace("⏎", "\n"), "found": [], "lang": lang, "where": where, "kind": kind}


def line(row):
    """A row as JSON in which no key of a service stands as it is, so that scanners of repositories leave it alone."""
    text = json.dumps(row, ensure_ascii=False)
    for label, words in row["found"]:
        if SECRETS & set(label.split("|")):
            plain = json.dumps(words, ensure_ascii=False)[1:-1]
            text = text.replace(plain, f"{plain[:2]}\\u{ord(plain[2]):04x}{plain[3:]}")
    return text + "\n"


def main():
    for path in sorted((HERE / "texts").glob("*.txt")):
        kind = {"clean": "clean", "near_miss": "near_miss"}.get(path.stem)
        rows = list(without_values(path, kind) if kind else with_values(path))
        assert len({row["text"] for row in rows}) >= len(rows) * 0.99, path.stem
        (HERE / f"{path.stem}.jsonl").write_text("".join(map(line, rows)), encoding="utf-8")
        print(f"{path.stem:14} {len(rows):5}")


if __name__ == "__main__":
    main()
