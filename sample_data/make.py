"""Writes the sample data: small, believable, and the same bytes every time (`python sample_data/make.py
[DIR]`).

Tickets for labelling, one day's articles for the nightly run, order mails for function calling, listings with
photos; each as JSONL and as Parquet with the same rows. Parquet carries times as timestamps, JSONL as ISO text.
Everything comes from one seed and no clock; names, places and firms are invented.
"""

from __future__ import annotations

import argparse
import json
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pictures import WRITERS, Colour, Drawing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEED = 20261121
DAY = date(2026, 11, 21)
TICKETS = 300
ARTICLES = 200
ORDERS = 240
LISTINGS = 240

Row = dict[str, object]
TEXT, TIME = pa.string(), pa.timestamp("ms", tz="UTC")


class DataSet(NamedTuple):
    """A file's stem, the types of its columns, and what makes its rows from a seeded generator."""

    stem: str
    schema: pa.Schema
    rows: Callable[[random.Random], list[Row]]


# --- tickets

PRODUCTS = (
    "Aurora desk lamp", "Fjord kettle", "Nimbus headphones", "Pico e-reader", "Terra backpack",
    "Vela running shoes", "Brisk hand mixer", "Lumen bike light", "Oslo office chair", "Solis power bank",
    "Kanto rice cooker", "Milo baby monitor",
)  # fmt: skip

ISSUES: dict[str, Sequence[tuple[str, str]]] = {
    "billing": (
        ("Charged twice", "Order {order} was charged twice, {price} EUR on the {day}th and again later."),
        ("Invoice without VAT number", "The invoice for {order} does not show our VAT number. It has to."),
        ("Wrong amount", "The {product} was listed at {price} EUR, the invoice says {more} EUR."),
    ),
    "refund": (
        ("Where is my refund?", "I sent the {product} back {weeks} weeks ago. Still no money."),
        ("Return", "The {product} from {order} is unopened. How do I get my money back?"),
        ("Partial refund", "You refunded {price} EUR, but I paid {more} EUR including shipping."),
    ),
    "delivery": (
        ("Parcel not moving", "Tracking for order {order} has said 'in transit' for {weeks} weeks."),
        ("Delivered to whom?", "The {product} was 'delivered' on the {day}th. Nobody here has it."),
        ("Change of address", "We move on the {day}th. Can order {order} still go to the new address?"),
    ),
    "damaged item": (
        ("Arrived broken", "The {product} has a cracked housing. The box looked fine. Photos attached."),
        ("Missing part", "There is no power cable in the box of my {product}. Order {order}."),
        ("Scratches", "Bought as new, but the {product} is scratched and smells of smoke."),
    ),
    "account": (
        ("Cannot log in", "The reset mail never arrives, I checked spam. Last order was {order}."),
        ("Delete my account", "Please delete my account and all data, and confirm in writing."),
        ("Two accounts", "Can you merge my two accounts? My points are on the old one."),
    ),
    "technical problem": (
        ("Will not pair", "My {product} does not pair since the last update. Reset did not help."),
        ("Switches off", "After ten minutes the {product} switches itself off. {weeks} weeks old."),
        ("Checkout error", "Error 502 when I pay for the {product}. Tried {weeks} cards."),
    ),
    "question": (
        ("Spare parts", "Do you sell the filter for the {product} separately?"),
        ("Before I order", "Does the {product} work with 110 volts? I travel a lot."),
        ("Gift", "Can you send the {product} as a present, without the invoice in the parcel?"),
    ),
    "other": (
        ("Thank you!", "Your colleague on the phone was wonderful. The {product} works again."),
        ("Cooperation", "We are a cycling club of many members and would like to talk about a discount."),
        ("Your newsletter", "I unsubscribed {weeks} times. Please stop."),
    ),
}  # fmt: skip

OPENINGS = (
    "Hello,",
    "Hi there,",
    "Dear team,",
    "Good morning,",
    "",
    "",
    "To whom it may concern,",
    "Bonjour,",
)
MIDDLES = (
    "I need this solved before the weekend.", "No hurry from my side.", "This is the third time I write.",
    "I have been a customer for years and never had trouble.", "Honestly, I am disappointed.",
    "Sorry if this is the wrong address for it.", "A call would be best, after 5 pm.", "", "", "",
)  # fmt: skip
CLOSINGS = (
    "Thanks, {name}",
    "Regards\n{name}",
    "{name}",
    "Best wishes\n{name}",
    "Sent from my phone",
    "Merci, {name}",
)
NAMES = (
    "Ana Ferreira", "Jonas Weber", "Priya Nair", "Zoë Laurent", "Tomáš Dvořák", "Mei Tanaka",
    "Oluwaseun Ade", "Karin Lind", "Luca Moretti", "Sarah O'Neill", "Henrik Dahl", "Fatima El Amrani",
    "Pavel Novák", "Grace Kim", "Íñigo Salas", "Nora Haas",
)  # fmt: skip


def tickets(rng: random.Random) -> list[Row]:
    """Support tickets over the week before `DAY`, oldest first."""
    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) - timedelta(days=7)
    minutes = sorted(rng.sample(range(7 * 24 * 60), TICKETS))
    return [
        {
            "id": f"T-{48000 + number}",
            "created_at": start + timedelta(minutes=minute),
            "channel": rng.choices(("email", "chat", "web form", "phone note"), (5, 3, 3, 1))[0],
            **ticket_text(rng),
            "customer_since": rng.randint(2015, 2026),
        }
        for number, minute in enumerate(minutes)
    ]


def ticket_text(rng: random.Random) -> Row:
    subject, sentence = rng.choice(ISSUES[rng.choice(list(ISSUES))])
    price = rng.randint(900, 24900) / 100
    filled = sentence.format(
        order=f"{rng.randint(10**6, 10**7 - 1)}",
        product=rng.choice(PRODUCTS),
        price=f"{price:.2f}",
        more=f"{price + rng.choice((4.9, 5.95, 12)):.2f}",
        day=rng.randint(4, 13),
        weeks=rng.randint(2, 6),
    )
    parts = [
        rng.choice(OPENINGS),
        filled,
        rng.choice(MIDDLES),
        rng.choice(CLOSINGS).format(name=rng.choice(NAMES)),
    ]
    return {"subject": subject, "body": "\n".join(part for part in parts if part)}


# --- articles

PLACES = (
    "Marwick", "Ostrava Bay", "Linden", "Port Halden", "San Telmo", "Greywater", "Ilmari", "Kessel",
    "Bruneck", "Vila Serra",
)  # fmt: skip
SUBJECTS: dict[str, Sequence[str]] = {
    "transport": ("tram line 7", "the harbour bridge", "the night bus network", "the northern cycle path"),
    "housing": (
        "the old brewery site",
        "the rent register",
        "the social housing programme",
        "the building code",
    ),
    "energy": (
        "the district heating grid",
        "the offshore wind park",
        "the school solar roofs",
        "the battery store",
    ),
    "health": (
        "the maternity ward",
        "the vaccination centre",
        "the air quality plan",
        "the ambulance service",
    ),
    "culture": ("the city museum", "the film festival", "the open-air theatre", "the public library"),
}
ACTIONS = (
    ("approved", "after a debate of {hours} hours"), ("postponed", "for the second time this year"),
    ("presented", "to a full hall"), ("halved", "against the advice of its own experts"),
    ("doubled", "with votes from all parties"), ("reviewed", "following {count} complaints from residents"),
)  # fmt: skip
FACTS = (
    "The plan will cost {million} million euros, of which the state pays {percent} per cent.",
    "Work is to begin in {month} 2027 and to take {count} months.",
    "A survey of {people} residents found {percent} per cent in favour.",
    "It is the largest change to {subject} since {year}.",
    "According to the figures, use has grown by {percent} per cent since {year}.",
    "Of the {count} firms that made an offer, {few} are from the region.",
    "A first attempt had failed in {year} because of rising costs.",
    "Around {people} people depend on it every day.",
)
QUOTES = (
    '"We have talked long enough," said {name}, who leads the project.',
    '"This comes {count} years too late," said {name} of the residents\' association.',
    '"The numbers speak for themselves," said {name}, but gave no details.',
    '"I would have liked more courage," said {name}, a member of the council.',
    '{name}, who lives nearby, was not convinced: "Nobody has asked us."',
)
ENDINGS = (
    "The council will return to the matter in {month}.",
    "A hearing is open to the public until the {day}th.", "The opposition has announced a motion.",
    "The final decision lies with the region.",
)  # fmt: skip
MONTHS = ("January", "February", "March", "April", "May", "June")


def articles(rng: random.Random) -> list[Row]:
    """The articles of `DAY`, in order of publication."""
    start = datetime(DAY.year, DAY.month, DAY.day, 5, tzinfo=UTC)
    return [
        {
            "article_id": f"{DAY:%Y%m%d}-{number:03d}",
            "published_at": start + timedelta(minutes=5 * number + rng.randint(0, 4)),
            **article_text(rng),
        }
        for number in range(ARTICLES)
    ]


def article_text(rng: random.Random) -> Row:
    section = rng.choice(list(SUBJECTS))
    subject, place = rng.choice(SUBJECTS[section]), rng.choice(PLACES)
    verb, how = rng.choice(ACTIONS)

    def filled(text: str) -> str:
        return text.format(
            subject=subject,
            name=rng.choice(NAMES),
            hours=rng.randint(3, 9),
            count=rng.randint(4, 40),
            few=rng.randint(1, 3),
            million=rng.randint(2, 380),
            percent=rng.randint(11, 83),
            people=f"{rng.randint(8, 900) * 100:,}",
            year=rng.randint(1974, 2021),
            month=rng.choice(MONTHS),
            day=rng.randint(3, 28),
        )

    lead = f"{place}. The council has {verb} {subject} {filled(how)}."
    facts = [filled(fact) for fact in rng.sample(FACTS, rng.randint(3, 7))]
    half = len(facts) // 2
    paragraphs = [
        " ".join([lead, *facts[:half]]),
        " ".join(filled(quote) for quote in rng.sample(QUOTES, rng.randint(1, 3))),
        " ".join([*facts[half:], filled(rng.choice(ENDINGS))]),
    ]
    return {
        "section": section,
        "title": f"{place}: council has {verb} {subject}",
        "text": "\n\n".join(paragraphs),
    }


# --- order mails

CATALOGUE = {
    "KG-1042": "steel pan 24 cm", "KG-1057": "steel pan 28 cm", "KG-1130": "chef's knife",
    "KG-1131": "bread knife", "KG-1204": "cutting board, beech", "KG-1318": "mixing bowl 3 l",
    "KG-1402": "measuring jug", "KG-1555": "baking tray", "KG-1610": "silicone spatula",
    "KG-1733": "water carafe", "KG-1801": "espresso cup", "KG-1802": "saucer",
}  # fmt: skip
CUSTOMERS = (
    "kitchen@hotel-adler.example", "orders@bistro-nord.example", "einkauf@kantine-west.example",
    "hello@fig-and-fennel.example", "purchasing@harbour-school.example", "m.rossi@trattoria-sole.example",
    "office@cook-club.example",
)  # fmt: skip
ORDER_LINES = (
    "{quantity} x {article} ({name})", "{quantity} {name}, your number {article}",
    "- {name}: {quantity} pcs", "{article}, {quantity} pieces",
)  # fmt: skip
ORDER_OPENINGS = (
    "please send us:", "we would like to order the following.", "same procedure as every month:",
    "our order for the new season:",
)  # fmt: skip
ORDER_NOTES = (
    "The {name} from last time were excellent, by the way.",
    "Please do not send the {name} again, we have enough.",
    "What would {quantity} of the {name} cost? No order yet.", "", "", "",
)  # fmt: skip


def orders(rng: random.Random) -> list[Row]:
    """Order mails of the week before `DAY`, with what was really ordered in `ordered`."""
    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) - timedelta(days=7)
    minutes = sorted(rng.sample(range(7 * 24 * 60), ORDERS))
    return [
        {
            "mail_id": f"M{7000 + number}",
            "mailed_at": start + timedelta(minutes=minute),
            "sender": rng.choice(CUSTOMERS),
            **order_text(rng),
        }
        for number, minute in enumerate(minutes)
    ]


def order_text(rng: random.Random) -> Row:
    chosen = rng.sample(list(CATALOGUE), rng.randint(2, 6))
    mentioned, *ordered = chosen
    items = [{"article": article, "quantity": rng.choice((1, 2, 6, 10, 12, 24, 48))} for article in ordered]
    is_express = rng.random() < 0.25
    deliver_by = DAY + timedelta(days=rng.randint(4, 30)) if rng.random() < 0.5 else None
    line = rng.choice(ORDER_LINES)
    parts = [
        f"{rng.choice(OPENINGS)} {rng.choice(ORDER_OPENINGS)}".strip(),
        "\n".join(line.format(name=CATALOGUE[str(item["article"])], **item) for item in items),
        rng.choice(ORDER_NOTES).format(name=CATALOGUE[mentioned], quantity=rng.choice((50, 100))),
        f"We need it by {deliver_by:%d %B %Y}." if deliver_by else "",
        "Express, please." if is_express else "",
        rng.choice(CLOSINGS).format(name=rng.choice(NAMES)),
    ]
    return {
        "subject": rng.choice(("Order", "New order", "Bestellung", "Order for November", "Re: your offer")),
        "body": "\n\n".join(part for part in parts if part),
        "ordered": items,
    }


# --- listings

GRID = 16
GROUND = Colour(236, 232, 222)
COLOURS = {
    "red": Colour(200, 40, 40),
    "blue": Colour(40, 80, 190),
    "green": Colour(30, 140, 70),
    "yellow": Colour(230, 190, 40),
}
SHAPES: dict[str, Callable[[float, float], bool]] = {
    "ball": lambda x, y: x * x + y * y < 0.7,
    "ring": lambda x, y: 0.25 < x * x + y * y < 0.75,
    "cube": lambda x, y: max(abs(x), abs(y)) < 0.7,
    "roof": lambda x, y: -0.7 < y < 0.7 and abs(x) < (y + 0.8) * 0.55,
    "cross": lambda x, y: min(abs(x), abs(y)) < 0.22 and max(abs(x), abs(y)) < 0.8,
}
"""Toys as what lies inside their outline; x and y from -1 to 1."""
TITLES = (
    "{colour} wooden {toy}", "Wooden {toy}, {colour}", "{toy} for building, {colour}, beech",
    "{colour} {toy}, like new", "Single {toy} from a set ({colour})",
)  # fmt: skip
PRICES = (1.5, 2, 2.5, 3, 4)


def photo_names() -> dict[tuple[str, str], str]:
    """(colour, toy) -> the file of its photo; the formats take turns."""
    pairs = [(colour, toy) for colour in COLOURS for toy in SHAPES]
    kinds = list(WRITERS)
    return {pair: f"{'-'.join(pair)}.{kinds[number % len(kinds)]}" for number, pair in enumerate(pairs)}


def listings(rng: random.Random) -> list[Row]:
    """Second-hand toys; one photo in eight shows another toy than the title says."""
    photos = photo_names()
    rows: list[Row] = []
    for number in range(LISTINGS):
        said = rng.choice(list(photos))
        shown = said if rng.random() > 1 / 8 else rng.choice([pair for pair in photos if pair != said])
        title = rng.choice(TITLES).format(colour=said[0], toy=said[1])
        rows.append(
            {
                "listing_id": f"L-{40_000 + number}",
                "title": title[0].upper() + title[1:],
                "price_eur": rng.choice(PRICES),
                "photo": photos[shown],
                "shows": " ".join(shown),
            }
        )
    return rows


def draw(directory: Path) -> None:
    """Write the photos."""
    directory.mkdir(exist_ok=True)
    middle = (GRID - 1) / 2
    for (colour, toy), name in photo_names().items():
        grid = [
            [SHAPES[toy]((x - middle) / (GRID / 2), (y - middle) / (GRID / 2)) for x in range(GRID)]
            for y in range(GRID)
        ]
        picture = WRITERS[name.rpartition(".")[2]](Drawing(grid, GROUND, COLOURS[colour]))
        (directory / name).write_bytes(picture)


# --- files

ITEM = pa.struct([("article", TEXT), ("quantity", pa.int64())])

DATA_SETS = (
    DataSet(
        "tickets",
        pa.schema(
            {
                "id": TEXT,
                "created_at": TIME,
                "channel": TEXT,
                "subject": TEXT,
                "body": TEXT,
                "customer_since": pa.int64(),
            }
        ),
        tickets,
    ),
    DataSet(
        f"articles-{DAY}",
        pa.schema({"article_id": TEXT, "published_at": TIME, "section": TEXT, "title": TEXT, "text": TEXT}),
        articles,
    ),
    DataSet(
        "orders",
        pa.schema(
            {
                "mail_id": TEXT,
                "mailed_at": TIME,
                "sender": TEXT,
                "subject": TEXT,
                "body": TEXT,
                "ordered": pa.list_(ITEM),
            }
        ),
        orders,
    ),
    DataSet(
        "listings",
        pa.schema(
            {"listing_id": TEXT, "title": TEXT, "price_eur": pa.float64(), "photo": TEXT, "shows": TEXT}
        ),
        listings,
    ),
)


def write(data_set: DataSet, directory: Path) -> None:
    """Write one data set as `STEM.jsonl` and `STEM.parquet`; each has its own generator."""
    rows = data_set.rows(random.Random(f"{SEED} {data_set.stem}"))
    lines = "".join(f"{json.dumps(row, ensure_ascii=False, default=iso)}\n" for row in rows)
    (directory / f"{data_set.stem}.jsonl").write_bytes(lines.encode())
    table = pa.Table.from_pylist(rows, schema=data_set.schema)
    pq.write_table(table, directory / f"{data_set.stem}.parquet", compression="zstd")


def iso(value: object) -> str:
    """Times as ISO text with a Z."""
    assert isinstance(value, datetime)
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("directory", nargs="?", type=Path, default=Path(__file__).parent)
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    for data_set in DATA_SETS:
        write(data_set, directory)
    draw(directory / "photos")


if __name__ == "__main__":
    main()
