"""Which entry of a file is which anime of the catalogue, where ids have moved, or anime were merged or split."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple
from uuid import UUID

MAX_ASSIGNMENTS = 5000
"""More than this are not compared: then an editor decides."""


class Entry(NamedTuple):
    """An entry, or several of the file that are one anime."""

    number: int
    fields: Mapping[str, Any]  # columns of `anime`


class Known(NamedTuple):
    """An anime of the catalogue."""

    id: UUID
    titles: frozenset[str]  # its title, and the title of the last import
    type: str
    year: int | None
    ids: frozenset[str]  # `<provider>:<id>`
    viewers: int


class Link(NamedTuple):
    """The ids of an entry that an anime has."""

    number: int
    anime_id: UUID
    ids: frozenset[str]
    by_hand: frozenset[str]
    """Those that an editor assigned."""
    contested: frozenset[str] = frozenset()
    """Those that other entries have, too. They stay where they are."""


class Difference(NamedTuple):
    """Ids that are with another anime than the file says."""

    kind: str
    """`move`, `split` or `merge`; a merge takes the whole anime."""
    number: int
    from_id: UUID
    into_id: UUID | None  # None for the new anime of a split
    ids: frozenset[str]
    reason: str  # why it is not certain, or empty

    @property
    def key(self) -> str:
        """What makes it the same difference in the next file."""
        return f"{self.kind} {self.from_id} {self.into_id} {' '.join(sorted(self.ids))}"


Assignment = dict[int, UUID]
"""Numbers of entries to their anime, which no other entry has."""


class Matches(NamedTuple):
    assigned: Assignment
    differences: list[Difference]


def match(entries: Sequence[Entry], known: Sequence[Known], links: Sequence[Link]) -> Matches:
    """Assign each entry to at most one anime, and each anime to at most one entry."""
    by_number, by_id = {each.number: each for each in entries}, {each.id: each for each in known}
    assigned: Assignment = {}
    differences: list[Difference] = []
    for part in _connected(links):
        score = {
            (link.number, link.anime_id): _score(by_number[link.number], by_id[link.anime_id], link) for link in part
        }
        best, is_certain = _best_assignment(part, score, by_id)
        assigned |= best
        differences += _differences(part, best, by_number, by_id, is_certain=is_certain)
    return Matches(assigned, differences)


def _connected(links: Sequence[Link]) -> Iterator[list[Link]]:
    """Yield the links in parts that share no entry and no anime."""
    neighbours: dict[int | UUID, list[Link]] = defaultdict(list)
    for link in links:
        neighbours[link.number].append(link)
        neighbours[link.anime_id].append(link)
    seen: set[Link] = set()
    for link in links:
        part, pending = [], [link]
        while pending:
            each = pending.pop()
            if each not in seen:
                seen.add(each)
                part.append(each)
                pending += neighbours[each.number] + neighbours[each.anime_id]
        if part:
            yield sorted(part, key=lambda each: (each.number, each.anime_id))


def _title_match(entry: Entry, anime: Known) -> int:
    if fold(entry.fields["title"]) in anime.titles:
        return 2
    return int(bool(anime.titles & set(map(fold, entry.fields["synonyms"]))))


def fold(title: str) -> str:
    """Return a title without differences of case and blanks."""
    return " ".join(title.casefold().split())


def _score(entry: Entry, anime: Known, link: Link) -> tuple[int, ...]:
    """Return how well they match: assigned entries, then titles, then ids, then type and year."""
    same = (entry.fields["type"], entry.fields["year"]) == (anime.type, anime.year)
    return 1, _title_match(entry, anime), len(link.ids), int(same)


def _best_assignment(
    part: Sequence[Link], score: Mapping[tuple[int, UUID], tuple[int, ...]], known: Mapping[UUID, Known]
) -> tuple[Assignment, bool]:
    """Return the best assignment, and whether no other one is as good."""
    options: dict[int, list[UUID]] = defaultdict(list)
    for link in part:
        options[link.number].append(link.anime_id)

    def total(assignment: Assignment) -> tuple[int, ...]:
        return tuple(map(sum, zip((0,) * 4, *(score[pair] for pair in assignment.items()), strict=True)))

    if prod(len(each) + 1 for each in options.values()) > MAX_ASSIGNMENTS:
        return _greedy_assignment(score), False
    every = [
        {number: anime_id for number, anime_id in zip(options, chosen, strict=True) if anime_id is not None}
        for chosen in product(*([*each, None] for each in options.values()))
        if all(count == 1 for anime_id, count in Counter(chosen).items() if anime_id is not None)
    ]
    # Of anime that match equally well, the one with more viewers stays.
    best = max(every, key=lambda each: (*total(each), sum(known[anime_id].viewers for anime_id in each.values())))
    rivals = (each for each in every if total(each) == total(best) and each != best)
    # Which of two anime stays in a merge makes no difference; which entry an anime is does.
    return best, all(each.keys() == best.keys() and {*each.values()} != {*best.values()} for each in rivals)


def _greedy_assignment(score: Mapping[tuple[int, UUID], tuple[int, ...]]) -> Assignment:
    assigned: Assignment = {}
    for number, anime_id in sorted(score, key=lambda pair: score[pair], reverse=True):
        if number not in assigned and anime_id not in assigned.values():
            assigned[number] = anime_id
    return assigned


def _differences(
    part: Sequence[Link],
    assigned: Assignment,
    entries: Mapping[int, Entry],
    known: Mapping[UUID, Known],
    *,
    is_certain: bool,
) -> Iterator[Difference]:
    taken = {*assigned.values()}
    claims = Counter(link.anime_id for link in part if link.ids)
    for link in part:
        into = assigned.get(link.number)
        ids = link.ids - link.contested
        if into == link.anime_id or not ids:
            continue
        anime, kind = known[link.anime_id], "move" if into else "split"
        reason = "" if is_certain else "several entries match equally well"
        if link.anime_id not in taken:
            kind = "merge"
            if claims[link.anime_id] > 1:
                reason = "its ids are in several entries"
            elif anime.ids - ids:
                reason = "it has more ids, which the entry does not have"
            elif not _title_match(entries[link.number], anime):
                reason = "the entry does not have its title"
        if link.by_hand:
            reason = "an editor assigned the id"
        yield Difference(kind, link.number, link.anime_id, into, ids, reason)
