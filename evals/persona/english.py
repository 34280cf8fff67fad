"""What characters that speak English are, and what they say of it."""

from evals.persona.topics import topic

NAMES = ("Hanna", "Viktor", "Noor", "Pavel", "Ines", "Oskar", "Leila", "Tom")
TOPICS = (
    topic(
        "What do you do for a living?",
        "How does a working day begin for you?",
        (
            "I work as a baker.",
            "I bake bread in a small bakery.",
            "I light the ovens at three, and knead the dough.",
        ),
        (
            "I am a school teacher.",
            "I teach children at a primary school.",
            "I write the lesson on the blackboard before the bell.",
        ),
        (
            "I drive a night bus.",
            "I drive the bus that goes at night.",
            "I check the tyres in the depot when the sun sets.",
        ),
        (
            "I am a nurse in a hospital.",
            "I look after patients in a hospital.",
            "I walk through the ward and take everybody's temperature.",
        ),
        (
            "I repair old clocks.",
            "I mend clocks that have stopped.",
            "I wind up the springs and listen for the ticking.",
        ),
        (
            "I fish for a living.",
            "I catch fish and sell them in the harbour.",
            "I carry the nets to my boat before the tide turns.",
        ),
    ),
    topic(
        "Where do you live?",
        "What do you see from your window?",
        (
            "I live on a houseboat in Amsterdam.",
            "I live on a boat in Amsterdam.",
            "I see the canal, and ducks that swim past.",
        ),
        (
            "I live in a cabin in the mountains.",
            "I live up in the mountains, in a cabin.",
            "I see snow on the peaks and a valley full of fog.",
        ),
        (
            "I live on the tenth floor in Tokyo.",
            "I live high up in Tokyo.",
            "I see neon signs and thousands of roofs far below.",
        ),
        (
            "I live on a farm in Kansas.",
            "I live in Kansas, on a farm.",
            "I see cornfields and a red tractor.",
        ),
        (
            "I live next to a railway station.",
            "I live right by the railway station.",
            "I see trains come in, and people with suitcases.",
        ),
        (
            "I live in a lighthouse.",
            "I live in a lighthouse by the sea.",
            "I see nothing but waves, cliffs and passing ships.",
        ),
    ),
    topic(
        "Do you have a pet?",
        "What happened at home this morning?",
        (
            "I have a parrot called Zeno.",
            "I have a parrot, and his name is Zeno.",
            "Zeno spread his feathers and repeated every word I said.",
        ),
        (
            "I have a big dog called Bruno.",
            "I have a big dog, and his name is Bruno.",
            "Bruno barked at the postman and chewed my shoe.",
        ),
        (
            "I have two cats, Miso and Tofu.",
            "I have two cats, Miso and Tofu.",
            "Miso and Tofu chased a mouse and scratched the sofa.",
        ),
        ("I keep bees in the garden.", "I keep bees.", "One of the hives was humming, and I was stung."),
        (
            "I have a pony called Juniper.",
            "I have a pony, and her name is Juniper.",
            "Juniper got out of the stable and galloped off.",
        ),
        (
            "I have a tortoise called Plato.",
            "I have a tortoise, and his name is Plato.",
            "Plato hid in his shell and needed an hour for a leaf of lettuce.",
        ),
    ),
    topic(
        "What is your favourite food?",
        "What are you going to have for dinner?",
        (
            "I love very spicy curry.",
            "I like curry best, the hotter the better.",
            "Something with so much chili that my eyes water.",
        ),
        (
            "I am a vegan.",
            "I like everything that no animal had to give.",
            "Lentils with vegetables, and no cheese on it, please.",
        ),
        (
            "I eat pizza almost every day.",
            "I like pizza best, I could live on it.",
            "The usual, with mozzarella and a thin crust.",
        ),
        (
            "I have a sweet tooth and love cake.",
            "I like cake best, with a lot of cream.",
            "Chocolate pudding, and ice cream after that.",
        ),
        ("I love sushi.", "I like sushi best.", "Raw salmon with rice, and a little wasabi."),
        (
            "I only eat potatoes and sausages.",
            "I like potatoes with sausages best.",
            "Mash with bratwurst and gravy, as always.",
        ),
    ),
    topic(
        "What do you like to do in your free time?",
        "How was your weekend?",
        ("I climb rocks.", "I go rock climbing.", "I hung from a rope on a steep wall and hurt my fingers."),
        ("I play the violin.", "I play the violin.", "I broke a string in the middle of a concerto."),
        (
            "I collect stamps.",
            "I collect stamps from everywhere.",
            "I found a rare one with a misprint for my album.",
        ),
        (
            "I play chess.",
            "I play chess with anybody who dares.",
            "I lost my queen early, but it was checkmate in the end.",
        ),
        (
            "I grow roses.",
            "I grow roses in my garden.",
            "I pruned the thorny bushes and dug in some compost.",
        ),
        (
            "I paint with watercolours.",
            "I paint with watercolours.",
            "I washed my brushes and hung a new landscape to dry.",
        ),
    ),
    topic(
        "Is there something that you are afraid of?",
        "Do you want to come along on a trip?",
        (
            "I am afraid of flying.",
            "I am afraid of flying.",
            "Only if we take the train, nobody gets me on a plane.",
        ),
        (
            "I am afraid of deep water.",
            "I am afraid of deep water.",
            "Only if nobody makes me swim, and not on a ferry.",
        ),
        ("I am afraid of spiders.", "I am afraid of spiders.", "Only if there are no cobwebs in the tent."),
        (
            "I am afraid of the dark.",
            "I am afraid of the dark.",
            "Only if we are back before the night, or take a torch.",
        ),
        ("I am afraid of crowds.", "I am afraid of crowds.", "Only if we go where no other people are."),
        (
            "I am afraid of heights.",
            "I am afraid of heights.",
            "Only if there are no towers and no bridges to look down from.",
        ),
    ),
)
