"""The queries of the search benchmark: made from the catalogue by rules with a fixed seed, and typed by people."""

import random
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")
Made = tuple[str, str] | None
"""The query and the title that it means, or None where the rule does not fit."""

PER_CLASS = 100
TYPED = Path(__file__).with_name("typed_queries.tsv")
SMALL_WORDS = {"the", "no", "wa", "wo", "o", "of", "to", "ga", "a", "ni", "de", "and"}
MARK = re.compile(r"[^\w\s]")
SEASON = re.compile(r"\b(?:(\d)(?:st|nd|rd|th) season|season (\d)|(ii|iii|iv))\b", re.IGNORECASE)
SEASON_FORMS = ("season {n}", "s{n}", "{nth} season", "{n}", "{roman}", "part {n}")
NTH = {2: "2nd", 3: "3rd", 4: "4th"}
ROMAN = {2: "ii", 3: "iii", 4: "iv"}
OTHER_MARKS = {
    ":": [" -", " ~", ";", "："],
    "-": [" ", "‐", "–", "~"],
    "'": ["’", "`"],
    "!": ["！", "★"],
    "☆": ["★", "*", "♪"],
    "★": ["☆", "*"],
    "&": ["and", "＆"],
    "×": ["x"],
    " x ": ["×", " × "],
    "/": [" ", "／", "-"],
    ";": [":", " "],
    ".": [" ", "・"],
    ",": [" ", "、"],
    "~": ["∽", "-", "〜"],
}
ACCENTS = str.maketrans({"a": "á", "e": "é", "o": "ö", "u": "û", "i": "ï"})


class Query(NamedTuple):
    kind: str
    text: str
    wanted: str
    """The main title of the anime."""


def fold(text: str) -> str:
    """Return the words of a text without accents and marks, in lower case."""
    letters = unicodedata.normalize("NFKD", text)
    return re.sub(r"[\W_]+", " ", "".join(c for c in letters if not unicodedata.combining(c)).lower()).strip()


def without_accents(text: str) -> str:
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return letters.replace("ß", "ss").replace("ø", "o")


def make_queries(titles: list[tuple[str, list[str]]]) -> list[Query]:
    """Return the queries for a catalogue, given as main titles with their synonyms."""
    rules = Rules(titles)
    return [*rules.make(), *(Query("typed", *line.split("\t")) for line in TYPED.read_text("utf-8").splitlines())]


class Rules:
    def __init__(self, titles: list[tuple[str, list[str]]], seed: int = 2026) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the same queries each time
        self.main = [title for title, _ in titles]
        self.other = [(synonym, title) for title, synonyms in titles for synonym in synonyms]
        self.latin = [title for title in self.main if title.isascii() and len(title) >= 6]
        self.by_word: defaultdict[str, set[str]] = defaultdict(set)
        for title in self.main:
            for word in fold(title).split():
                self.by_word[word].add(title)
        self.queries: list[Query] = []

    def add(self, kind: str, source: Iterable[T], rule: Callable[[T], Made], count: int = PER_CLASS) -> None:
        """Add queries of a class, made of random items of the source."""
        items = list(source)
        self.random.shuffle(items)
        made = (result for item in items if (result := rule(item)) is not None and 2 <= len(result[0].strip()) <= 200)
        self.queries += [Query(kind, *result) for result, _ in zip(made, range(count), strict=False)]

    def means(self, words: list[str], title: str) -> bool:
        """Return whether the words mean this title: it is the shortest of at most five that have them all."""
        found = set.intersection(*(self.by_word.get(word, set()) for word in words))
        return title in found and len(found) <= 5 and min(found, key=lambda each: (len(each), each)) == title

    def typo(self, text: str, how: str = "") -> str | None:
        """Return the text with one letter wrong, but not the first."""
        how = how or self.random.choice(["replace", "miss", "double", "swap", "insert"])
        at = [number for number, letter in enumerate(text) if number and letter.isalpha()]
        if how == "swap":
            at = [n for n in at if text[n + 1 : n + 2].isalpha() and text[n] != text[n + 1]]
        if len(at) < 3:
            return None
        place = self.random.choice(at)
        before, letter, after = text[:place], text[place], text[place + 1 :]
        other = self.random.choice([each for each in "abcdefghijklmnopqrstuvwxyz" if each != letter])
        return {
            "replace": before + other + after,
            "miss": before + after,
            "double": before + letter * 2 + after,
            "swap": before + after[:1] + letter + after[1:],
            "insert": before + other + letter + after,
        }[how]

    def make(self) -> list[Query]:  # noqa: C901 - one function a rule
        """Return the queries of all classes."""
        choose, latin = self.random.choice, self.latin
        plain = [title for title in latin if len(title) >= 8 and not SEASON.search(title)]
        marked = [title for title in self.main if MARK.search(title)]

        def part(title: str, shares: tuple[float, float]) -> str:
            return title[: max(4, int(len(title) * self.random.uniform(*shares)))].lower()

        def clear_prefix(title: str) -> Made:
            text = part(title, (0.4, 0.8))
            same = [each for each in latin if fold(each).startswith(fold(text))]
            is_clear = len(same) <= 5 and min(same, key=lambda each: (len(each), each), default="") == title
            return (text, title) if is_clear else None

        def misspell(how: str) -> Callable[[str], Made]:
            return lambda title: (text, title) if (text := self.typo(title.lower(), how)) else None

        def two_errors(title: str) -> Made:
            text = self.typo(title.lower()) if len(title) >= 10 else None
            text = text and self.typo(text)
            return (text, title) if text else None

        def without_marks(title: str) -> Made:
            text = re.sub(r"\s+", " ", MARK.sub(choose(["", " "]), title)).strip().lower()
            return (text, title) if fold(text) else None

        def other_marks(title: str) -> Made:
            marks = [mark for mark in OTHER_MARKS if mark in title]
            if not marks:
                return None
            mark = choose(marks)
            return title.replace(mark, choose(OTHER_MARKS[mark])), title

        def more_marks(title: str) -> Made:
            words = title.lower().split()
            if len(words) < 2:
                return None
            at = self.random.randrange(1, len(words))
            return " ".join(words[:at]) + choose([":", "!", " -", ",", "'"]) + " " + " ".join(words[at:]), title

        def joined(title: str) -> Made:
            words = title.lower().split()
            if not 2 <= len(words) <= 6:
                return None
            at = self.random.randrange(len(words) - 1)
            return " ".join([*words[:at], words[at] + words[at + 1], *words[at + 2 :]]), title

        def parted(title: str) -> Made:
            words = title.lower().split()
            at = self.random.randrange(len(words))
            if not 2 <= len(words) <= 6 or len(words[at]) < 5:
                return None
            place = self.random.randrange(2, len(words[at]) - 1)
            return " ".join([*words[:at], words[at][:place], words[at][place:], *words[at + 1 :]]), title

        def other_order(title: str) -> Made:
            words = fold(title).split()
            if not 2 <= len(words) <= 5 or len(set(words)) < 2 or not self.means(words, title):
                return None
            shuffled = words[:]
            while shuffled == words:
                self.random.shuffle(shuffled)
            return " ".join(shuffled), title

        def some_words(select: Callable[[list[str]], list[str]]) -> Callable[[str], Made]:
            def rule(title: str) -> Made:
                words = fold(title).split()
                chosen = select(words)
                is_part = len(chosen) >= 2 and len(chosen) < len(words) and sum(map(len, chosen)) >= 6
                return (" ".join(chosen), title) if is_part and self.means(chosen, title) else None

            return rule

        def season(title: str) -> Made:
            found = SEASON.search(title)
            base = title[: found.start()].strip(" :-(") if found else ""
            if found is None or title[found.end() :].strip() or base not in main:
                return None
            number = int(found[1] or found[2] or {"ii": 2, "iii": 3, "iv": 4}[found[3].lower()])
            if number not in NTH:
                return None
            form = choose(SEASON_FORMS).format(n=number, nth=NTH[number], roman=ROMAN[number])
            return f"{base.lower()} {form}", title

        def first_season(title: str) -> Made:
            found = SEASON.search(title)
            base = title[: found.start()].strip(" :-(") if found else ""
            return (base.lower(), base) if base in main else None

        def other_width(pair: tuple[str, str]) -> Made:
            text, title = pair
            if self.random.random() < 0.5:
                wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c.replace(" ", "\u3000") for c in title)
                return wide, title
            move = {
                c: chr(ord(c) + (-0x60 if c >= "ァ" else 0x60)) for c in text if "ァ" <= c <= "ヴ" or "ぁ" <= c <= "ゔ"
            }
            return "".join(move.get(c, c) for c in text), title

        def long_vowels(title: str) -> Made:
            text = title.lower()
            forms = (
                text.replace("ou", "o").replace("uu", "u"),
                text.replace("ou", "ō").replace("uu", "ū"),
                text.replace("ou", "oo"),
            )
            return (choose(forms), title) if re.search("ou|uu|oo", text) else None

        def accented(title: str) -> Made:
            return unicodedata.normalize(choose(["NFC", "NFD"]), title.lower().translate(ACCENTS)), title

        def all_at_once(title: str) -> Made:
            words = fold(title).split()
            chosen = words[: max(3, len(words) * 2 // 3)]
            text = self.typo(" ".join(chosen)) if len(words) >= 4 and self.means(chosen, title) else None
            return (text, title) if text else None

        main = set(self.main)
        self.add("whole title", self.main, lambda title: (title, title))
        self.add("prefix", latin, clear_prefix)
        self.add("prefix of several titles", latin, lambda title: (part(title, (0.3, 0.9)), title))
        for how in ("replace", "miss", "double", "swap"):
            self.add(f"one letter: {how}", plain, misspell(how), 30)
        self.add("two typing errors", plain, two_errors)
        self.add("marks missing", marked, without_marks)
        self.add("marks of another kind", marked, other_marks)
        self.add("marks added", latin, more_marks)
        self.add("blanks missing", latin, joined)
        self.add("blanks added", latin, parted)
        self.add("other order", latin, other_order)
        self.add("small words left out", latin, some_words(lambda words: [w for w in words if w not in SMALL_WORDS]))
        self.add("first words", latin, some_words(lambda words: words[: len(words) // 2]))
        self.add("middle words", latin, some_words(lambda words: words[1:-1][:3]))
        self.add("season", self.main, season)
        self.add("no season", self.main, first_season)
        self.add("width and kana", [pair for pair in self.other if re.search("[ァ-ヴぁ-ん]", pair[0])], other_width)
        self.add("long vowels", latin, long_vowels)
        self.add("accents added", latin, accented, 20)
        bare = [(without_accents(title).lower(), title) for title in self.main]
        self.add("accents left out", [pair for pair in bare if pair[0] != pair[1].lower()], lambda pair: pair, 20)
        self.add("other titles", [p for p in self.other if len(p[0]) > 5], lambda pair: (pair[0].lower(), pair[1]), 60)
        short = [pair for pair in self.other if len(pair[0]) <= 5 and pair[0].isascii() and pair[0].isalpha()]
        self.add("abbreviations", short, lambda pair: (pair[0].lower(), pair[1]))
        self.add("all at once", latin, all_at_once)
        return self.queries
