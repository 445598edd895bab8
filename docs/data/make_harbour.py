"""Writes harbour.txt, the corpus of docs/training.md: sentences of a small grammar, the same bytes at each run."""
import random

random.seed(7)
ships = ["the ferry", "the tug", "a barge", "the pilot boat", "an old trawler", "the dredger"]
people = ["the harbour master", "a young sailor", "the cook", "the pilot", "an engineer", "the keeper of the light"]
places = ["at the north pier", "by the lock", "under the crane", "behind the breakwater", "near the red buoy", "at the coal dock"]
times = ["at dawn", "before noon", "in the evening", "after the rain", "when the tide turned", "on the first cold day"]
loads = ["timber", "salt", "copper wire", "apples", "mail", "three horses", "a church bell"]

def sentence():
    form = random.randrange(5)
    ship, person, place, time, load = (random.choice(x) for x in (ships, people, places, times, loads))
    return [f"{time}, {ship} lay {place}.", f"{person} counted {load} {place}.", f"{ship} brought {load} {time}.",
            f"{person} waited {place} until {ship} came.", f"{time}, {person} told {random.choice(people)} about {load}."][form].capitalize()

with open("harbour.txt", "w") as out:
    for _ in range(120):
        out.write(" ".join(sentence() for _ in range(random.randint(3, 6))) + "\n")
