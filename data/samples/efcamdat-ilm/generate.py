"""Writes texts.jsonl: made-up texts of learners of English at five levels, the same on every run.

    python data/samples/efcamdat-ilm/generate.py

A text is an opening, sentences drawn from its level's patterns, and an ending. Patterns and words
were written for this project. Lower levels have shorter texts, fewer words and more of the errors
that their writers' languages make likely.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

TEXTS = 150  # a level
LENGTH = {"A1": (3, 5), "A2": (4, 6), "B1": (4, 7), "B2": (5, 7), "C1": (5, 8)}  # sentences
ERRORS = {"A1": 0.25, "A2": 0.15, "B1": 0.08, "B2": 0.03, "C1": 0.01}  # of the places for one
NUMBER = {"A1": (1, 2, 3), "A2": (4, 5, 6), "B1": (7, 8, 9), "B2": (10, 11, 12), "C1": (13, 14, 15)}
L1 = ("br", "cn", "de", "ru", "mx", "it")

WORDS = {
    "name": ["Ana", "João", "Li", "Maria", "Ivan", "Paulo", "Chen", "Eva", "Marco", "Olga"],
    "kin": ["brother", "sister", "mother", "father", "friend", "cousin"],
    "place": ["house", "school", "park", "city", "beach", "market"],
    "food": ["pasta", "rice", "bread", "soup", "fish", "cake"],
    "thing": ["dog", "car", "book", "phone", "bike", "garden"],
    "adjective": ["big", "small", "nice", "old", "new", "red"],
    "verb": ["like", "love", "see", "need", "want", "have"],
    "went": ["visited", "found", "left", "enjoyed", "bought", "painted"],
    "when": ["yesterday", "last week", "on Sunday", "last summer", "in May"],
    "job": ["engineer", "nurse", "teacher", "manager", "designer", "assistant"],
    "company": ["bank", "hotel", "factory", "hospital", "university", "newspaper"],
    "problem": ["noise", "traffic", "delay", "price", "weather", "service"],
    "idea": ["remote work", "public transport", "online learning", "healthy food", "social media"],
    "effect": ["stress", "waste", "savings", "progress", "confidence", "conflict"],
    "people": ["employees", "citizens", "students", "customers", "parents", "tourists"],
    "notion": ["sustainability", "globalisation", "bureaucracy", "innovation", "inequality",
               "autonomy"],
    "claim": ["undermines", "fosters", "perpetuates", "mitigates", "accelerates", "obscures"],
    "field": ["urban planning", "corporate governance", "higher education", "public health"],
    "stance": ["misguided", "compelling", "untenable", "plausible", "overstated", "indispensable"],
}
PATTERNS = {
    "A1": ["Hi! My name is {name}.", "I am from a {adjective} city.", "I {verb} my {thing}.",
           "My {kin} is in the {place}.", "I have a {adjective} {thing}.",
           "I eat {food} every day.",
           "This is my {kin} {name}.", "There is a {thing} in the {place}."],
    "A2": ["Dear {name}, how are you?", "I {went} a {adjective} {place} {when}.",
           "{when}, we ate {food} with my {kin}.",
           "My {kin} {went} the {thing} because it was {adjective}.",
           "You can take the bus to the {place}.", "I don't {verb} {food}, but my {kin} does.",
           "We were happy when we saw the {thing}."],
    "B1": ["I am writing to tell you about my job as a {job}.",
           "I have worked for a {company} since May.",
           "If the {problem} gets worse, we should talk to the {job}.",
           "I think {idea} is a good way to help {people}.",
           "The {company} has had problems with {problem}.",
           "Although I was tired, I {went} the {company} {when}.",
           "We could meet at the {place} to discuss {idea}."],
    "B2": ["In recent years, {idea} has become important for many {people}.",
           "On the one hand, it reduces {effect}; on the other hand, it causes {problem}.",
           "According to a survey, most {people} would prefer {idea} to {idea}.",
           "The {company} was criticised by {people} for its lack of {effect}.",
           "It is often said that {idea} leads to {effect}, which is only partly true.",
           "Had we known about the {problem}, we would have chosen {idea}."],
    "C1": ["The notion that {notion} {claim} {notion} strikes me as {stance}.",
           "Were {people} to embrace {notion}, {field} might well be transformed.",
           "Not only does {notion} affect {field}, but it also {claim} {effect}.",
           "Proponents of {notion} hold that it {claim} {effect} in {field}, which is {stance}.",
           "It would be {stance} to dismiss {notion} out of hand, given its bearing on {field}.",
           "What is at stake, ultimately, is whether {notion} {claim} the interests of {people}."],
}
ENDINGS = {
    "A1": ["Bye!", "See you!", "Thank you. Bye."], "A2": ["Love, {name}", "Write soon!\n{name}"],
    "B1": ["I look forward to hearing from you.\n\nBest wishes,\n{name}", "Yours, {name}"],
    "B2": ["To sum up, both sides have good points.", "In conclusion, {idea} is here to stay."],
    "C1": ["In the final analysis, {notion} remains {stance}.",
           "One can but hope that {field} will heed the lesson."],
}
# What a writer of that language may do: (language or "" for all, pattern, what it becomes).
SLIPS = [("", r"\ba (?=\w)", ""), ("cn", r"\bthe ", ""), ("ru", r"\bthe ", ""),
         ("ru", r"\bam ", ""), ("br", r"\bI am\b", "I'm be"), ("de", r"\bbecome\b", "get"),
         ("it", r"\bpeople\b", "peoples"),
         ("", r"\bhas\b", "have"), ("", r"\bdon't\b", "dont"), ("mx", r"\bIt is\b", "Is"),
         ("br", r"\bhave\b", "has"), ("", r"\bwere\b", "was")]


def main() -> None:
    """Draw and write all texts."""
    rng = random.Random("efcamdat-ilm")
    rows, seen = [], set()
    for level in PATTERNS:
        made = 0
        while made < TEXTS:
            l1 = rng.choice(L1)
            text = draw(level, l1, rng)
            if text not in seen:
                seen.add(text)
                made += 1
                rows.append({"text": text, "level": rng.choice(NUMBER[level]), "l1": l1})
    rng.shuffle(rows)
    path = Path(__file__).with_name("texts.jsonl")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
    print(f"{path}: {len(rows)} texts, {len(lines.encode())} bytes")


def draw(level: str, l1: str, rng: random.Random) -> str:
    """One text."""
    count = rng.randint(*LENGTH[level])
    patterns = rng.sample(PATTERNS[level], min(count, len(PATTERNS[level])))
    patterns += [rng.choice(PATTERNS[level]) for _ in range(count - len(patterns))]
    text = ""
    for place, pattern in enumerate(patterns):
        sentence = slip(fill(pattern, rng), level, l1, rng)
        text += ("\n" if place and rng.random() < 0.15 else " " if place else "") + sentence
    return f"{text}\n{fill(rng.choice(ENDINGS[level]), rng)}"


def fill(pattern: str, rng: random.Random) -> str:
    """A pattern with words in its places, and a capital letter in front."""
    text = re.sub(r"\{(\w+)\}", lambda match: rng.choice(WORDS[match[1]]), pattern)
    return text[0].upper() + text[1:]


def slip(sentence: str, level: str, l1: str, rng: random.Random) -> str:
    """A sentence with some of its writer's errors."""
    for language, pattern, becomes in SLIPS:
        if language in ("", l1) and rng.random() < ERRORS[level]:
            sentence = re.sub(pattern, becomes, sentence, count=1)
    return sentence


if __name__ == "__main__":
    main()
