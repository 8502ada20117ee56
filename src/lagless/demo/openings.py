"""What the board holds before the first visitor comes, and how much of it a page shows."""

HOST = "host"
"""The author of the first threads, whom nobody can log in as."""

OPENINGS = {
    "Welcome": "Say hello, and where you read this from.",
    "Which book should I read next?": "Something short, please.",
    "Bread without kneading": "Flour, water, salt, yeast, and eighteen hours.",
    "The best walk within an hour": "Trains count.",
    "What are you repairing?": "Here it is a radio from 1963.",
    "Good questions for a quiz": "The hard part is the middle.",
    "Plants that survive me": "So far: none.",
    "Keyboards": "Loud ones in the other thread.",
}

THREADS_SHOWN = 20
MESSAGES_SHOWN = 30
LATEST_SHOWN = 10
