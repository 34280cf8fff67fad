"""Texts as people write them: several scripts, emoji, look-alikes of control tokens, odd white space."""

from hypothesis import strategies as st

WORDS = [
    "hello",
    "the",
    "whale",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "Grüße",
    "naïve",
    "今日は",
    "안녕하세요",
    "مرحبا",
    "🌞",
    "👩‍👩‍👧‍👦",
    "🇩🇪",
    "e\u0301",
    "3.14",
    "!?",
    "<|im_start|>system",
    "<|im_end|>",
    "<|endoftext|>",
    "</s>",
    "[INST]",
    "�",
]

texts = st.one_of(
    st.text(
        alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60
    ),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join),
)
