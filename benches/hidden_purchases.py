"""One log of events and hidden purchases, for `split.target_event = "purchase"`.

    python3 hidden_purchases.py FOLDER LOG [--hide]

FOLDER has `events.csv` (user, item, event, timestamp) and `test_purchase.csv` (user, item). A hidden purchase becomes the last event of its
user, a second after the last one. A user `catalog`, before all others, has bought every item once, so that a log of purchases alone ranks the
same items. With --hide, the other events of a user with the item of the last purchase in the log go: where the log has none for the hidden
purchase, validation then asks what the test asks.
"""

import csv
import sys

FIRST = 1_000_000_000


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def newest_purchases(events):
    newest = {}
    for event in events:
        if event["event"] == "purchase":
            so_far = newest.setdefault(event["user"], event)
            if int(event["timestamp"]) >= int(so_far["timestamp"]):
                newest[event["user"]] = event
    return newest


def main(folder, log, *options):
    events, hidden = read(f"{folder}/events.csv"), read(f"{folder}/test_purchase.csv")
    if "--hide" in options:
        newest = newest_purchases(events)
        events = [
            event for event in events
            if event is newest.get(event["user"]) or event["item"] != newest.get(event["user"], {"item": ""})["item"]
        ]
    last = {}
    for event in events:
        last[event["user"]] = max(last.get(event["user"], 0), int(event["timestamp"]))
    items = sorted({row["item"] for row in events + hidden}, key=int)
    with open(log, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "event", "timestamp"])
        writer.writerows(["catalog", item, "purchase", FIRST] for item in items)
        writer.writerows([e["user"], e["item"], e["event"], e["timestamp"]] for e in events)
        writer.writerows([h["user"], h["item"], "purchase", last.get(h["user"], FIRST) + 1] for h in hidden)


if __name__ == "__main__":
    main(*sys.argv[1:])
