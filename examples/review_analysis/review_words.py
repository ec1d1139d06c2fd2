"""The words that the made-up reviews are put together from. Nothing here is anybody's review."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Aspect:
    """What people judge. subjects: what stands for it in a sentence; good, bad: what is said of it alone.

    The fields that begin with `new_` are kept from training: they show what a model makes of words it was not taught.
    """

    subjects: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]
    new_subjects: tuple[str, ...]
    new_good: tuple[str, ...]
    new_bad: tuple[str, ...]


ASPECTS = {
    "food": Aspect(
        (),  # its subjects are the dishes of the kitchen
        ("delicious", "full of flavour", "cooked with care", "fresh and tasty"),
        ("bland", "overcooked", "greasy", "nearly cold"),
        ("the dessert", "the starter", "the side dish"),
        ("mouth-watering", "perfectly seasoned"),
        ("tasteless", "burnt"),
    ),
    "service": Aspect(
        ("the waiter", "the staff", "the service", "the woman at the bar"),
        ("friendly", "attentive", "kind to our children", "helpful"),
        ("rude", "careless", "in a bad mood", "unfriendly"),
        ("our waitress", "the host", "the manager"),
        ("polite", "welcoming"),
        ("arrogant", "impolite"),
    ),
    "price": Aspect(
        ("the bill", "the price", "what we paid", "the menu of the day"),
        ("fair", "surprisingly low", "good value", "lower than elsewhere"),
        ("far too high", "a rip-off", "twice what it should be", "too expensive"),
        ("the cost", "the final sum", "the price of a glass"),
        ("reasonable", "cheap"),
        ("outrageous", "overpriced"),
    ),
    "noise": Aspect(
        ("the room", "the music", "the place", "the table by the window"),
        ("quiet", "calm", "made for a talk", "peaceful"),
        ("loud", "deafening", "far too noisy", "like a station"),
        ("the dining hall", "the sound level", "the corner we sat in"),
        ("silent", "relaxing"),
        ("ear-splitting", "unbearably loud"),
    ),
    "waiting": Aspect(
        ("the wait", "the time until we ate", "the time at the door", "the queue"),
        ("short", "hardly five minutes", "shorter than we feared", "over in a moment"),
        ("endless", "more than an hour", "much too long", "longer than the meal"),
        ("the delay", "the line outside", "the time we stood there"),
        ("brief", "over quickly"),
        ("never-ending", "unacceptably long"),
    ),
}

GOOD = ("excellent", "wonderful", "a pleasure", "very good", "better than expected")
BAD = ("awful", "disappointing", "a let-down", "very poor", "worse than expected")
"""Said of any aspect: only the subject tells of which."""
NEW_GOOD = ("superb", "fantastic", "lovely")
NEW_BAD = ("terrible", "dreadful", "horrible")

ONE = ("{a} was {x}.", "I must say that {a} was {x}.", "As for {a}, it was {x}.", "Once more {a} was {x}.")
NEW_ONE = ("We found {a} {x}.", "To be honest, {a} seemed {x} to us.")
TWO = (
    "{a} was {x}, but {b} was {y}.",
    "{a} was {x}, {b} on the other hand was {y}.",
    "While {a} was {x}, {b} was {y}.",
)
NEW_TWO = ("{a} being {x}, we forgot that {b} was {y}.", "We found {a} {x}; {b}, though, we found {y}.")
"""Of two aspects one is good and one is bad; where what is said is said of any aspect, only the order tells which."""
NONE = (
    "We came on a Tuesday with my sister.",
    "It lies two streets from the river.",
    "My brother had his birthday.",
    "We will move to another town in spring.",
    "I have been here three times this year.",
    "It rained all evening.",
)

KITCHENS = {
    "Japanese": ("the ramen", "the salmon sushi", "the tempura", "the udon", "the miso soup", "the gyoza"),
    "Italian": ("the lasagne", "the risotto", "the polenta", "the tiramisu", "the minestrone", "the focaccia"),
    "Indian": ("the dal", "the chicken tikka", "the naan", "the biryani", "the palak paneer", "the samosa"),
    "Mexican": ("the taco", "the guacamole", "the enchilada", "the quesadilla", "the pozole", "the tamale"),
    "barbecue": ("the brisket", "the spare rib", "the pulled pork", "the smoked sausage", "the coleslaw", "the steak"),
    "bakery": ("the croissant", "the cheesecake", "the sourdough", "the cinnamon roll", "the eclair", "the apple tart"),
    "seafood": ("the oyster", "the grilled squid", "the mussel pot", "the lobster", "the fish stew", "the crab"),
    "vegan": ("the lentil salad", "the tofu bowl", "the falafel", "the hummus", "the kale soup", "the bean burger"),
}
"""A taste is a kitchen that somebody loves; its dishes give it away."""

PECULIARITIES = (
    "a rooftop terrace",
    "an open fireplace",
    "a live pianist",
    "handwritten menus",
    "a lemon tree in the yard",
    "an old jukebox",
    "a wall of clocks",
    "a glass floor",
    "paper lanterns",
    "a parrot called Otto",
    "long wooden benches",
    "a chess corner",
    "a model railway",
    "stained glass windows",
    "a tiny library",
    "swings for chairs",
)
"""What a restaurant is remembered for, a key phrase of its reviews."""
