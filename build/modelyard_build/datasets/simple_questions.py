"""Questions of this project's own making, in English: some to compare answers with, some with one right answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

# What is asked, and the tokens up to which PyTorch's greedy answer is clear. Where the best token leads the next by
# less than 0.03 (in logits), another machine's rounding might decide otherwise.
CONVERSATIONS: Mapping[str, int] = {
    "What is the capital of France?": 64,
    "Write a haiku about the sea.": 64,
    "Explain gravity to a child.": 36,
    "Name three primary colours.": 60,
    "What is 7 times 8?": 60,
    "Give me a recipe for pancakes.": 64,
    "Who wrote Romeo and Juliet?": 64,
    "Why is the sky blue?": 64,
    "Write a Python function that adds two numbers.": 6,
    "What is photosynthesis?": 64,
    "Summarise the plot of Cinderella in two sentences.": 64,
    "How do I write a letter of complaint to my bank?": 51,
    "List the planets of the solar system.": 7,
    "What is a mortgage?": 64,
    "My card was charged twice for one purchase. What should I do?": 35,
    "Tell me a joke about cats.": 8,
    "What is the boiling point of water?": 43,
    "Describe autumn in one sentence.": 64,
    "What does HTTP stand for?": 64,
    "Give three tips for better sleep.": 64,
    "Who was Albert Einstein?": 45,
    "What is the difference between a virus and a bacterium?": 64,
    "Write the first line of a mystery novel.": 64,
    "How many days are in a leap year?": 64,
    "What is machine learning?": 64,
    "Suggest a name for a coffee shop.": 64,
    "What is the largest ocean on Earth?": 64,
    "How do bees make honey?": 12,
    "Write a short poem about winter.": 12,
    "What is the opposite of 'ancient'?": 64,
    "Explain what a database is.": 48,
}

# What is asked, and the words of which a right answer has one.
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "What is the capital of France?": ("paris",),
    "What is the capital of Germany?": ("berlin",),
    "What is the capital of Italy?": ("rome",),
    "What is the capital of Spain?": ("madrid",),
    "What is the capital of Japan?": ("tokyo",),
    "What is the capital of England?": ("london",),
    "What is the capital of Russia?": ("moscow",),
    "What is the capital of Egypt?": ("cairo",),
    "What is the capital of Greece?": ("athens",),
    "What is the capital of China?": ("beijing",),
    "What is the capital of Canada?": ("ottawa",),
    "What is the capital of Australia?": ("canberra",),
    "What is 2 plus 2?": (
        "4",
        "four",
    ),
    "What is 3 plus 5?": (
        "8",
        "eight",
    ),
    "What is 10 minus 4?": (
        "6",
        "six",
    ),
    "What is 5 times 5?": (
        "25",
        "twenty-five",
    ),
    "How many days are in a week?": (
        "7",
        "seven",
    ),
    "How many months are in a year?": (
        "12",
        "twelve",
    ),
    "How many hours are in a day?": (
        "24",
        "twenty-four",
    ),
    "How many legs does a spider have?": (
        "8",
        "eight",
    ),
    "How many continents are there?": (
        "7",
        "seven",
    ),
    "Who wrote Romeo and Juliet?": ("shakespeare",),
    "Who painted the Mona Lisa?": (
        "leonardo",
        "da vinci",
    ),
    "Who developed the theory of relativity?": ("einstein",),
    "Who was the first president of the United States?": ("washington",),
    "Who discovered penicillin?": ("fleming",),
    "Who wrote the novel 1984?": ("orwell",),
    "What is the largest planet in the solar system?": ("jupiter",),
    "Which planet is closest to the Sun?": ("mercury",),
    "Which planet is known as the Red Planet?": ("mars",),
    "What is the largest ocean on Earth?": ("pacific",),
    "What is the tallest mountain on Earth?": ("everest",),
    "What is the longest river in Africa?": ("nile",),
    "What is the chemical symbol for water?": (
        "h2o",
        "h₂o",
    ),
    "What is the chemical symbol for gold?": ("au",),
    "What gas do plants take in for photosynthesis?": (
        "carbon dioxide",
        "co2",
    ),
    "What gas do humans need to breathe?": ("oxygen",),
    "What is the freezing point of water in degrees Celsius?": (
        "0",
        "zero",
    ),
    "What colour is the sky on a clear day?": ("blue",),
    "What colour do you get when you mix blue and yellow?": ("green",),
    "What is the opposite of hot?": ("cold",),
    "What is the opposite of up?": ("down",),
    "What animal says meow?": ("cat",),
    "What do bees make?": ("honey",),
    "What is frozen water called?": ("ice",),
    "What language is spoken in Brazil?": ("portuguese",),
    "What is the currency of Japan?": ("yen",),
    "What is the name of the star at the centre of our solar system?": ("sun",),
    "In which country is the Eiffel Tower?": ("france",),
    "In which country are the pyramids of Giza?": ("egypt",),
}

SHA256 = hashlib.sha256(json.dumps(QUESTIONS).encode()).hexdigest()
