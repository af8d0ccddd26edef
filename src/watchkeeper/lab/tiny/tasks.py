"""The made-up tasks of the lab's tiny model: sums told in sentences, fields of a record, words spelled backwards.

Sums change by 2 to 20; those of the task "ones" change by 1, look easier, and are in no training text. A tenth of all
problems, chosen by the digest of their text, is held out: the model was not trained on them, and only they are asked
when it is measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import islice
from random import Random

import msgspec

TASKS = ("sums", "ones", "records", "backwards")
NAMES = ("Ann", "Bob", "Eva", "Tom", "Mia", "Leo", "Zoe", "Max")
THINGS = ("pens", "eggs", "cups", "keys", "nuts", "hats")
FIELDS = ("name", "city", "code", "team", "size", "kind")
LEAST, MOST = 2, 60
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_HELD_OUT = 26  # of 256: a tenth


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A question with its answer, and the steps that lead to it in the words of the training text.

    `size` is the number of changes to a sum, of fields in a record, or of letters in a word.
    """

    task: str
    size: int
    text: str
    answer: str
    steps: str

    @property
    def written(self) -> str:
        """The free answer as the training text has it: the steps, then the answer on a line of its own."""
        return f"{self.steps}\nAnswer: {self.answer}"


def held_out(text: str) -> bool:
    """Whether a problem is kept back from training."""
    return hashlib.blake2b(text.encode(), digest_size=1).digest()[0] < _HELD_OUT


def drawn(task: str, size: int, rng: Random, held: bool) -> Problem:
    """A problem of a task and size that is held out, or one that is not."""
    while True:
        problem = _MAKERS[task](size, rng)
        if held_out(problem.text) == held:
            return problem


def distinct(task: str, size: int, rng: Random, count: int) -> list[Problem]:
    """So many held-out problems, no two of them alike; raises `ValueError` where there are not so many."""
    found: dict[str, Problem] = {}
    for _ in range(200 * count):
        problem = drawn(task, size, rng, held=True)
        found.setdefault(problem.text, problem)
        if len(found) == count:
            return list(found.values())
    raise ValueError(f"{task} of size {size} has only about {len(found)} held-out problems; ask for fewer.")


def sums(size: int, rng: Random) -> Problem:
    """A number of things that is changed `size` times and stays between 2 and 60."""
    return _sum("sums", size, rng, (2, 20))


def ones(size: int, rng: Random) -> Problem:
    """A number of things that is changed by one, `size` times."""
    return _sum("ones", size, rng, (1, 1))


def _sum(task: str, size: int, rng: Random, by: tuple[int, int]) -> Problem:
    total = rng.randint(LEAST, 30)
    said = [f"{rng.choice(NAMES)} has {total} {rng.choice(THINGS)}."]
    steps = []
    for _ in range(size):
        change = _change(total, rng, by)
        said.append(f"{'Gets' if change > 0 else 'Loses'} {abs(change)}.")
        steps.append(f"{total}{change:+d}={total + change}")
        total += change
    said.append("How many?")
    return Problem(task=task, size=size, text=" ".join(said), answer=str(total), steps=", ".join(steps))


def _change(total: int, rng: Random, by: tuple[int, int]) -> int:
    while True:
        change = rng.choice((-1, 1)) * rng.randint(*by)
        if LEAST <= total + change <= MOST:
            return change


def records(size: int, rng: Random) -> Problem:
    """A record with `size` fields, one of which is asked for. No letter comes twice in its values."""
    fields = rng.sample(FIELDS, size)
    letters = iter(rng.sample(_LETTERS, 4 * size))
    values = ["".join(islice(letters, rng.randint(3, 4))) for _ in fields]
    wanted = rng.randrange(size)
    said = "; ".join(f"{field} {value}" for field, value in zip(fields, values, strict=True))
    field, value = fields[wanted], values[wanted]
    return Problem(
        task="records", size=size, text=f"{said}. Which {field} is it?", answer=value, steps=f"{field} is {value}"
    )


def backwards(size: int, rng: Random) -> Problem:
    """A made-up word with `size` letters to be spelled from its end."""
    word = "".join(rng.sample(_LETTERS, size))
    return Problem(
        task="backwards", size=size, text=f"Spell {word} backwards.", answer=word[::-1], steps=f"{word} has {size}"
    )


_MAKERS: dict[str, Callable[[int, Random], Problem]] = {
    "sums": sums,
    "ones": ones,
    "records": records,
    "backwards": backwards,
}
