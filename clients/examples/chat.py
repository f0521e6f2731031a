"""Talks with a language model, each answer appearing as it is made.

python clients/examples/chat.py --url grpc://127.0.0.1:8001 "What is the capital of France?"

Without a question it asks for one after the other; an empty line ends the conversation, Ctrl+C an answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing

from modelyard_client import Client
from modelyard_client.tasks import Chat


def questions(given: list[str]) -> Iterator[str]:
    """The questions of the command line, else those that are typed."""
    if given:
        yield from given
        return
    while question := input("> "):
        yield question


def main() -> None:
    """Answers question after question; each knows what was said before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("questions", nargs="*", metavar="QUESTION")
    arguments = parser.parse_args()
    messages: list[dict[str, str]] = []
    with Client(arguments.url) as client:
        chat = Chat(client)
        for question in questions(arguments.questions):
            messages.append({"role": "user", "content": question})
            answer = chat.stream(messages, temperature=arguments.temperature, max_tokens=arguments.max_tokens)
            said = ""
            with closing(answer) as pieces:
                try:
                    for piece in pieces:
                        print(piece, end="", flush=True)
                        said += piece
                except KeyboardInterrupt:
                    # What closes the stream stops the work on the server.
                    print(" …", end="")
            print()
            messages.append({"role": "assistant", "content": said})


if __name__ == "__main__":
    main()
