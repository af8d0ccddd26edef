"""A small agent that answers questions about parcels: no model, no network, the same answer each time.

It reads which parcel is meant and what is asked, in any spelling that comes close, and answers in one sentence. It is
the agent of the exercise in grading evals (`watchkeeper eval mutants --kit DIR`), and stands on Python alone.
"""

import datetime as dt
import difflib
import re
import unicodedata
from typing import Any

FIRST_DAY = dt.date(2026, 3, 2)
TOPICS = {
    "weight": ("heavy", "weigh", "weighs", "weight", "kilograms"),
    "distance": ("far", "distance", "kilometres", "away"),
    "price": ("cost", "costs", "price", "much", "euros"),
    "return": ("return", "returned", "back", "keep"),
    "arrival": ("arrive", "arrives", "arrival", "when", "delivered", "come"),
}


def target(messages: list[Any]) -> str:
    """The answer to the last message of a conversation."""
    text = unicodedata.normalize("NFKC", str(messages[-1].get("content") or "")).casefold()
    found = re.search(r"\d{1,6}", text)
    if found is None:
        return "Which parcel do you mean?"
    return _answer(int(found[0]), _topic(re.findall(r"[a-z]+", text)))


def _topic(words: list[str]) -> str:
    """What is asked: the first topic one of whose words is there, or nearly."""
    for topic, known in TOPICS.items():
        for word in words:
            if word in known or (len(word) > 3 and difflib.get_close_matches(word, known, n=1, cutoff=0.8)):
                return topic
    return "arrival"


def _answer(parcel: int, topic: str) -> str:
    if topic == "weight":
        return f"Parcel {parcel} weighs {2 + parcel % 17} kg."
    if topic == "distance":
        return f"Parcel {parcel} has {40 + 13 * (parcel % 29)} km to go."
    if topic == "price":
        return f"Sending parcel {parcel} costs {5 + parcel % 23} EUR."
    if topic == "return":
        return f"Parcel {parcel} can be returned within {14 + parcel % 3 * 7} days."
    return f"Parcel {parcel} arrives on {(FIRST_DAY + dt.timedelta(days=parcel % 26)).isoformat()}."
